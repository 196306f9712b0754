// Delivery: a BullMQ worker, undici's pool or nodemailer's, and the status in PostgreSQL before and after each call.
// Told `fill` it queues what waits in the table while the queue is paused, told `go` it begins.
import { createInterface } from "node:readline";
import { Queue, Worker } from "bullmq";
import nodemailer from "nodemailer";
import { Pool } from "undici";
import { KEPT, openPool, openRedis, QUEUE } from "./stores.js";

const BEGIN = {
  name: "begin",
  text: `WITH begun AS (
      UPDATE peer.messages SET status = 'SENDING', updated_at = now() WHERE id = $1 AND status = 'QUEUED'
      RETURNING id, recipient, content
    ), told AS (
      INSERT INTO peer.message_events (message_id, status) SELECT id, 'SENDING' FROM begun
    )
    SELECT recipient, content FROM begun`,
};
const END = {
  name: "end",
  text: `WITH ended AS (
      UPDATE peer.messages SET status = $2, provider_message_id = $3, updated_at = now() WHERE id = $1 RETURNING id
    )
    INSERT INTO peer.message_events (message_id, status) SELECT id, $2 FROM ended`,
};

const pool = openPool();

function twilio() {
  const { TWILIO_API_BASE, TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_PHONE_NUMBER, WEBHOOK_URL } = process.env;
  const base = new URL(TWILIO_API_BASE);
  const client = new Pool(base.origin, { connections: 50 });
  const authorization = `Basic ${Buffer.from(`${TWILIO_ACCOUNT_SID}:${TWILIO_AUTH_TOKEN}`).toString("base64")}`;
  return async (id, recipient, content) => {
    const form = new URLSearchParams({
      To: recipient,
      From: TWILIO_PHONE_NUMBER,
      Body: content.text,
      StatusCallback: `${WEBHOOK_URL}?ref=${id}`,
    });
    const { statusCode, body } = await client.request({
      path: `${base.pathname}/2010-04-01/Accounts/${TWILIO_ACCOUNT_SID}/Messages.json`,
      method: "POST",
      headers: { authorization, "content-type": "application/x-www-form-urlencoded", accept: "application/json" },
      body: form.toString(),
      bodyTimeout: 15_000,
      headersTimeout: 15_000,
    });
    const answer = await body.json();
    if (statusCode !== 201) throw new Error(`Twilio answered ${statusCode}: ${answer.code}`);
    return answer.sid;
  };
}

function smtp() {
  const { SMTP_HOST, SMTP_PORT, SMTP_USERNAME, SMTP_PASSWORD, SMTP_FROM } = process.env;
  const transport = nodemailer.createTransport({
    pool: true,
    maxConnections: 10,
    maxMessages: 100,
    host: SMTP_HOST,
    port: Number(SMTP_PORT),
    ignoreTLS: true,
    auth: { user: SMTP_USERNAME, pass: SMTP_PASSWORD },
  });
  const domain = SMTP_FROM.match(/@([^>]+)/)[1];
  return async (id, recipient, content) => {
    const sent = await transport.sendMail({
      messageId: `<${id}@${domain}>`,
      from: SMTP_FROM,
      to: recipient,
      subject: content.subject,
      text: content.plainText,
      html: content.html,
      list: { unsubscribe: { url: `mailto:unsubscribe@${domain}` } },
    });
    return sent.response.split(" as ").at(-1);
  };
}

const send = process.env.CHANNEL === "EMAIL" ? smtp() : twilio();

async function carry({ data: { id } }) {
  const { rows } = await pool.query({ ...BEGIN, values: [id] });
  if (rows.length === 0) return;
  const name = await send(id, rows[0].recipient, rows[0].content);
  await pool.query({ ...END, values: [id, "SENT", name] });
}

const queue = new Queue(QUEUE, { connection: openRedis(), defaultJobOptions: KEPT });
const worker = new Worker(QUEUE, carry, { connection: openRedis(), concurrency: Number(process.env.CONCURRENCY) });
worker.on("failed", (job, error) => process.stderr.write(`${job?.id}: ${error.message}\n`));

async function fill() {
  await queue.pause();
  const { rows } = await pool.query("SELECT id FROM peer.messages WHERE status = 'QUEUED'");
  await queue.addBulk(rows.map(({ id }) => ({ name: "send", data: { id }, opts: { jobId: id } })));
}

const say = (word) => process.stdout.write(`${word}\n`);
await worker.waitUntilReady();
say("ready");
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "fill") await fill();
  if (line === "go") await queue.resume();
  say(line);
}
process.exit(0);
