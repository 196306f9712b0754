// Accepting: mercurius with its JIT over Fastify. Message and event are committed as one statement, then a BullMQ job
// is added; the answer comes after both. The token is ours, checked as ours is.
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { Queue } from "bullmq";
import Fastify from "fastify";
import mercurius from "mercurius";
import { KEPT, openPool, openRedis, QUEUE } from "./stores.js";

const SCHEMA = `
  enum Channel { WHATSAPP SMS EMAIL }
  enum MessageStatus { QUEUED SENDING SENT FAILED }
  input RecipientInput { phone: String email: String }
  input ContentInput { text: String }
  input StepInput { channel: Channel! }
  input SendMessageInput {
    to: RecipientInput!
    content: ContentInput!
    route: [StepInput!]!
    idempotencyKey: String
  }
  type Message { id: ID! status: MessageStatus! createdAt: String! }
  interface UserError { message: String! }
  type InvalidInput implements UserError { message: String! path: [String!]! }
  type SendMessagePayload { isReplay: Boolean! message: Message errors: [UserError!]! }
  type Query { ok: Boolean! }
  type Mutation { sendMessage(input: SendMessageInput!): SendMessagePayload! }
`;

// A replay finds nothing to insert and reads what is there.
const STORE = {
  name: "store",
  text: `WITH stored AS (
      INSERT INTO peer.messages (id, tenant_id, channel, recipient, content, status, idempotency_key)
      VALUES ($1, $2, $3, $4, $5, 'QUEUED', $6)
      ON CONFLICT (tenant_id, idempotency_key) DO NOTHING
      RETURNING id, created_at
    ), told AS (
      INSERT INTO peer.message_events (message_id, status) SELECT id, 'QUEUED' FROM stored
    )
    SELECT id, created_at FROM stored`,
};
const EARLIER = {
  name: "earlier",
  text: "SELECT id, status, created_at FROM peer.messages WHERE tenant_id = $1 AND idempotency_key = $2",
};

const pool = openPool();
const queue = new Queue(QUEUE, { connection: openRedis(), defaultJobOptions: KEPT });
const key = Buffer.from(process.env.TOKEN_KEY, "base64");

function readToken(header) {
  const [body, signature] = (header ?? "").replace(/^Bearer iadev_/, "").split(".");
  const ours = createHmac("sha256", key).update(body).digest("base64url");
  if (!signature || signature.length !== ours.length || !timingSafeEqual(Buffer.from(ours), Buffer.from(signature))) {
    return null;
  }
  const claims = JSON.parse(Buffer.from(body, "base64url").toString());
  return claims.exp > Date.now() / 1000 ? { tenant: claims.tenant } : null;
}

const refused = (message, ...path) => ({
  isReplay: false,
  message: null,
  errors: [{ __typename: "InvalidInput", message, path }],
});

async function sendMessage(_, { input }, { caller }) {
  const { phone } = input.to;
  const { text } = input.content;
  if (!/^\+[1-9][0-9]{7,14}$/.test(phone ?? "")) return refused("Not a telephone number.", "input", "to", "phone");
  if (!text?.trim()) return refused("The text is empty.", "input", "content", "text");
  const id = randomUUID();
  const channel = input.route[0].channel;
  const values = [id, caller.tenant, channel, phone, JSON.stringify({ text }), input.idempotencyKey];
  const { rows } = await pool.query({ ...STORE, values });
  if (rows.length === 0) {
    const earlier = (await pool.query({ ...EARLIER, values: [caller.tenant, input.idempotencyKey] })).rows[0];
    return { isReplay: true, message: shown(earlier), errors: [] };
  }
  await queue.add("send", { id }, { jobId: id });
  return { isReplay: false, message: shown({ ...rows[0], status: "QUEUED" }), errors: [] };
}

const shown = (row) => ({ id: row.id, status: row.status, createdAt: row.created_at.toISOString() });

const app = Fastify({ logger: { level: "warn" } });
app.register(mercurius, {
  schema: SCHEMA,
  resolvers: { Mutation: { sendMessage } },
  jit: 1,
  context: (request) => {
    const caller = readToken(request.headers.authorization);
    if (!caller) throw new mercurius.ErrorWithProps("Unauthenticated", { code: "UNAUTHENTICATED" }, 401);
    return { caller };
  },
});
await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
