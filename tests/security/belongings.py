"""One object of each type that a tenant can own."""

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from resolvers.global_ids import from_global_id, to_global_id
from tests.graph.callers import Caller
from tests.graph.factories import RecordFactory, global_id, problem_id
from tests.security.tables import tenant_tables

# Types that all tenants share.
SHARED_TYPES = {"Integration"}


SECRET_WORD = "palavra-secreta"


_HISTORY = "query ($id: ID!) { message(id: $id) { attempts { id } events { nodes { id } } } }"


_CREATE_KEY = """mutation ($name: String!) {
  createApiKey(input: {name: $name, kind: ALLOW_LIST, scopes: [MESSAGES_SEND],
    allowedRecipients: [{phone: "+5511987654321"}]}) { apiKey { id } }
}"""


_AUDIT = "query { auditEvents { nodes { id } } }"


_ERASE = """mutation { eraseRecipient(input: {recipient: {phone: "+5511912345678"}}) { erasure { id } } }"""


_SEND_BATCH = """mutation ($key: String!, $text: String!) {
  sendMessages(input: {idempotencyKey: $key, messages: [
    {to: {phone: "+5511987654321"}, content: {text: $text}, route: [{channel: SMS}]}]}) {
    batch { id } errors { __typename } }
}"""


@dataclass(frozen=True)
class Belongings:
    """The global ids of a tenant's objects, by type; `messages` are the messages' own."""

    ids: dict[str, list[str]]
    messages: list[UUID]

    @property
    def every(self) -> list[str]:
        return [id for ids in self.ids.values() for id in ids]

    def unknown(self) -> list[str]:
        """Ids of the same types and shapes that were never given out."""
        found = []
        for id in self.every:
            name, key = from_global_id(id) or ("", b"")
            # The highest bit of an event's sequence is a sign.
            made = bytearray(secrets.token_bytes(len(key)))
            made[16:17] = bytes(byte & 0x7F for byte in made[16:17])
            found.append(str(to_global_id(name, bytes(made))))
        return found


async def belongings_of(somebody: Caller, factory: RecordFactory) -> Belongings:
    """One of everything, in a state in which something can be done about it."""
    queued = await factory.message(somebody, attempts=1)
    failed = await factory.message(somebody, status="FAILED", attempts=1)
    told = (await somebody.ask(_HISTORY, id=global_id(queued)))["message"]
    webhook = await factory.webhook(somebody, status="FAILED", message=failed, event_type=SECRET_WORD)
    letters = [
        await factory.dead_letter(somebody, message=failed),
        await factory.dead_letter(somebody, kind="webhook.apply", webhook=webhook),
    ]
    template = await factory.template(somebody, body=SECRET_WORD, name=f"{SECRET_WORD}-{secrets.token_hex(4)}")
    batch = (await somebody.ask(_SEND_BATCH, key=secrets.token_hex(8), text=SECRET_WORD))["sendMessages"]["batch"]["id"]
    key = (await somebody.ask(_CREATE_KEY, name=SECRET_WORD))["createApiKey"]["apiKey"]["id"]
    erasure = (await somebody.ask(_ERASE))["eraseRecipient"]["erasure"]["id"]
    acts = (await somebody.ask(_AUDIT))["auditEvents"]["nodes"]
    ids = {
        "ApiKey": [key],
        "Message": [global_id(queued), global_id(failed)],
        "MessageAttempt": [one["id"] for one in told["attempts"]],
        "MessageEvent": [one["id"] for one in told["events"]["nodes"]],
        "MessageBatch": [batch],
        "Template": [str(to_global_id("Template", template.bytes))],
        "WebhookDelivery": [str(to_global_id("WebhookDelivery", webhook.bytes))],
        "User": [str(to_global_id("User", (await factory.member(somebody)).bytes))],
        "Organization": [str(to_global_id("Organization", somebody.tenant.bytes))],
        "Erasure": [erasure],
        "AuditEvent": [one["id"] for one in acts],
        "Problem": [problem_id(await factory.problem(somebody, detail=SECRET_WORD))],
        "DeadLetter": [str(to_global_id("DeadLetter", one.bytes)) for one in letters],
    }
    return Belongings(ids, [queued, failed])


async def rows_of_tenant(owner: asyncpg.Pool, tenant: UUID) -> dict[str, Any]:
    """Every row of a tenant, as text."""
    async with owner.acquire() as connection:
        return {
            table.name: await connection.fetchval(
                f"SELECT array_agg(t::text ORDER BY t::text) FROM {table.name} t WHERE {table.owner} = $1", tenant
            )
            for table in await tenant_tables(connection)
        }
