"""Rows written straight into the tables, and inputs of mutations, for the tests of the graph."""

import json
import os
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from core.addresses import lookup_form, mask
from core.ids import uuid7, uuid7_floor
from core.ports import Channel, Content, EmailContent, OtherEvent, TextContent
from core.ports.content import Filled, content_to_json
from core.sealing import Sealer
from resolvers.global_ids import to_global_id
from tests.contributed import EVENT_TYPES
from tests.graph.callers import Caller

PHONE = "+5511987654321"
GREETING = TextContent("Olá")
REPORT = "MessageSid=SM0123&MessageStatus=delivered&To=%2B5511987654321"
REFUSAL = {
    "reason": "INVALID_RECIPIENT",
    "party": "RECIPIENT",
    "message": "No telephone has this number.",
    "providerCode": "21211",
    "isTransient": False,
}


@dataclass
class RecordFactory:
    """Writes rows for a caller's tenant straight into the tables."""

    owner: asyncpg.Pool
    sealer: Sealer

    async def member(self, caller: Caller) -> UUID:
        """A user who is a member of the caller's tenant."""
        user = uuid7()
        await self.owner.execute("INSERT INTO users (id, subject) VALUES ($1, $2)", user, f"user_{user.hex}")
        await self.owner.execute("INSERT INTO memberships (tenant_id, user_id) VALUES ($1, $2)", caller.tenant, user)
        return user

    async def message(
        self,
        caller: Caller,
        *,
        at: datetime | None = None,
        content: Content = GREETING,
        status: str = "QUEUED",
        sender: str | None = None,
        attempts: int = 0,
        filled: Filled | None = None,
        in_reply_to: UUID | None = None,
        to: str = PHONE,
        external_id: str | None = None,
    ) -> UUID:
        """A message made at a moment, by the caller's tenant or to it; each attempt but the last was refused."""
        message, tenant = _id_at(at) if at else uuid7(), caller.tenant
        channel = Channel.EMAIL if isinstance(content, EmailContent) else Channel.SMS
        row: dict[str, Any] = {
            "tenant_id": tenant,
            "id": message,
            "direction": "INBOUND" if sender else "OUTBOUND",
            "status": status,
            "channel": channel.value,
            "route": json.dumps([{"channel": channel.value}]),
            "to_sealed": self.sealer.seal(to, tenant=tenant, row=message, column="to"),
            "to_masked": mask(to),
            "to_hash": self.sealer.lookup_hash(lookup_form(to), tenant=tenant),
            "from_hash": sender and self.sealer.lookup_hash(lookup_form(sender), tenant=tenant),
            "external_id": external_id,
            "from_masked": sender and mask(sender),
            "from_sealed": sender and self.sealer.seal(sender, tenant=tenant, row=message, column="from"),
            "content_sealed": self.sealer.seal(
                content_to_json(content, filled), tenant=tenant, row=message, column="content"
            ),
            "template_id": filled.template_id if filled else None,
            "in_reply_to": in_reply_to,
        } | ({"created_at": at} if at else {})
        async with self.owner.acquire() as connection, connection.transaction():
            await _insert(connection, "messages", row)
            if external_id is not None:
                named = {"tenant_id": tenant, "external_id": external_id, "message_id": message}
                await _insert(connection, "external_ids", named)
            await event(connection, caller, message, "QUEUED")
            for number in range(1, attempts + 1):
                was_taken = number == attempts and status != "FAILED"
                await _insert(
                    connection, "attempts", _attempt(self.sealer, tenant, message, number, was_taken=was_taken)
                )
                await event(connection, caller, message, "SENDING", "QUEUED")
        return message

    async def template(self, caller: Caller, **changes: Any) -> UUID:
        """A template of the caller's tenant, an SMS of ours unless `changes` say otherwise."""
        row: dict[str, Any] = {
            "tenant_id": caller.tenant,
            "id": uuid7(),
            "channel": "SMS",
            "name": f"template_{os.urandom(4).hex()}",
            "locale": "pt-BR",
            "category": "TRANSACTIONAL",
            "approval": "NOT_NEEDED",
            "body": "Olá, {{name|cliente}}! Chega {{day}}.",
            **changes,
        }
        async with self.owner.acquire() as connection:
            await _insert(connection, "templates", row)
        id: UUID = row["id"]
        return id

    async def webhook(
        self,
        caller: Caller,
        *,
        at: datetime | None = None,
        status: str = "PROCESSED",
        integration: str = "twilio",
        event_type: str = "delivered",
        message: UUID | None = None,
        raw: str = REPORT,
    ) -> UUID:
        """A webhook that a provider sent to the caller's tenant."""
        webhook, tenant = _id_at(at) if at else uuid7(), caller.tenant
        event = OtherEvent(f"{webhook}:{event_type}", event_type, raw)
        row: dict[str, Any] = {
            "tenant_id": tenant,
            "id": webhook,
            "integration": integration,
            "dedupe_key": event.dedupe_key,
            "event_type": event_type,
            "status": status,
            "message_id": message,
            "attempts": 1,
            "event_sealed": self.sealer.seal(EVENT_TYPES.encode(event), tenant=tenant, row=webhook, column="event"),
            "raw_sealed": self.sealer.seal(raw, tenant=tenant, row=webhook, column="raw"),
        } | ({"received_at": at} if at else {})
        async with self.owner.acquire() as connection:
            await _insert(connection, "inbox", row)
        return webhook

    async def dead_letter(
        self,
        caller: Caller,
        *,
        at: datetime | None = None,
        kind: str = "message.send",
        message: UUID | None = None,
        webhook: UUID | None = None,
        resolution: str | None = None,
        integration: str | None = "twilio",
    ) -> UUID:
        """Work of the caller's tenant that was given up."""
        letter = _id_at(at) if at else uuid7()
        row: dict[str, Any] = {
            "tenant_id": caller.tenant,
            "id": letter,
            "kind": kind,
            "integration": integration,
            "message_id": message,
            "inbox_id": webhook,
            "error": "The account is closed.",
            "attempts": 3,
            "resolution": resolution,
        } | ({"failed_at": at} if at else {})
        async with self.owner.acquire() as connection:
            await _insert(connection, "dead_letters", row)
        return letter

    async def problem(self, caller: Caller, **changes: Any) -> UUID:
        """A problem of the caller's tenant, one that Twilio refuses us unless `changes` say otherwise."""
        problem = _id_at(at) if (at := changes.get("first_at")) else uuid7()
        row: dict[str, Any] = {
            "tenant_id": caller.tenant,
            "id": problem,
            "key": f"probe:twilio:{problem}",
            "code": "TWILIO_REFUSES_US",
            "severity": "CRITICAL",
            "integration": "twilio",
            "title": "Authenticate",
            "detail": "Authenticate (20003)",
            "advice": "Compare TWILIO_AUTH_TOKEN with Twilio's console.",
            **changes,
        }
        async with self.owner.acquire() as connection:
            await _insert(connection, "problems", row)
        return problem

    async def status_change(self, caller: Caller, message: UUID, status: str, previous: str) -> None:
        """Let a message come to another status, as the worker does."""
        async with self.owner.acquire() as connection, connection.transaction():
            await connection.execute("UPDATE messages SET status = $2 WHERE id = $1", message, status)
            await event(connection, caller, message, status, previous)

    async def count(self, table: str, caller: Caller) -> int:
        found: int = await self.owner.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", caller.tenant)
        return found


async def event(
    connection: asyncpg.Connection, caller: Caller, message: UUID, status: str, previous: str | None = None
) -> int:
    """Write down that something happened; returns its sequence."""
    sequence: int = await connection.fetchval(
        "INSERT INTO message_events (tenant_id, message_id, status, previous_status, channel, source)"
        " VALUES ($1, $2, $3, $4, 'SMS', 'WORKER') RETURNING sequence",
        caller.tenant,
        message,
        status,
        previous,
    )
    return sequence


def global_id(message: UUID) -> str:
    return to_global_id("Message", message.bytes)


def _id_at(moment: datetime) -> UUID:
    return UUID(int=uuid7_floor(moment).int | int.from_bytes(os.urandom(7), "big"))


def _attempt(sealer: Sealer, tenant: UUID, message: UUID, number: int, *, was_taken: bool) -> dict[str, Any]:
    sealed = sealer.seal(f"SM{number}", tenant=tenant, row=message, column=f"provider_id {number}")
    started = datetime.fromisoformat("2026-11-23T12:00:00+00:00") + timedelta(minutes=number)
    return {
        "tenant_id": tenant,
        "message_id": message,
        "number": number,
        "step": 0,
        "channel": "SMS",
        "integration": "twilio",
        "token": number,
        "outcome": "ACCEPTED" if was_taken else "REJECTED",
        "provider_id_sealed": sealed if was_taken else None,
        "failure": None if was_taken else json.dumps(REFUSAL),
        "started_at": started,
        "finished_at": started + timedelta(milliseconds=250),
    }


async def _insert(connection: asyncpg.Connection, table: str, row: dict[str, Any]) -> None:
    places = ", ".join(f"${position}" for position in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


CREATE_API_KEY = """
mutation ($input: CreateApiKeyInput!) {
  createApiKey(input: $input) {
    secret
    apiKey {
      id name prefix kind scopes allowedRecipients createdAt expiresAt lastUsedAt revokedAt createdBy
    }
    errors { __typename ... on InvalidInputError { message path rule } }
  }
}
"""


def api_key_input(**more: Any) -> dict[str, Any]:
    return {"name": "Loja", "scopes": ["MESSAGES_SEND"], **more}


async def create_api_key(caller: Caller, **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = (await caller.ask(CREATE_API_KEY, input=api_key_input(**given)))["createApiKey"]
    return found


async def with_api_key(caller: Caller, secret: str) -> Caller:
    """The caller as authenticated by the key."""
    return replace(caller, principal=await caller.application.services.key_ring.authenticate(secret))


DASHBOARD_FIELDS = """
  window at queueDepth deadLetters integrations { kind }
  messages { channel sent delivered failed deliveryRate medianDeliverySeconds }
"""


async def mark_delivered(owner: asyncpg.Pool, message: UUID, seconds: float | None, status: str = "DELIVERED") -> None:
    """Let a message have been sent, and have arrived so many seconds later."""
    await owner.execute(
        "UPDATE messages SET status = $2, sent_at = now(), delivered_at = now() + $3::interval WHERE id = $1",
        message,
        status,
        None if seconds is None else timedelta(seconds=seconds),
    )


def dead_letter_id(letter: object) -> str:
    return to_global_id("DeadLetter", letter.bytes)  # type: ignore[attr-defined]


TEXT_MESSAGE: dict[str, Any] = {
    "to": {"phone": "+55 11 98765-4321"},
    "content": {"text": "Olá, Ana!"},
    "route": [{"channel": "SMS"}],
}


EMAIL_MESSAGE: dict[str, Any] = {
    "to": {"email": "Ana@Example.com"},
    "content": {"email": {"subject": "Olá", "plainText": "Como vai?"}},
    "route": [{"channel": "EMAIL"}],
}


SEND_MESSAGES = """
mutation Send($input: SendMessagesInput!) {
  sendMessages(input: $input) {
    isReplay
    batch { id name createdAt finishedAt counts { total queued scheduled failed } }
    results {
      isReplay
      message { id status toMasked batch { id } }
      errors { __typename ... on UserError { message path } ... on InvalidInputError { rule } }
    }
    errors { __typename ... on UserError { message path } ... on InvalidInputError { rule } }
  }
}
"""


async def send_messages(
    caller: Caller, *messages: dict[str, Any], key: str = "batch-1", **given: Any
) -> dict[str, Any]:
    data = await caller.ask(SEND_MESSAGES, input={"messages": list(messages), "idempotencyKey": key} | given)
    found: dict[str, Any] = data["sendMessages"]
    return found


def webhook_delivery_id(webhook: object) -> str:
    return to_global_id("WebhookDelivery", webhook.bytes)  # type: ignore[attr-defined]


def problem_id(problem: UUID) -> str:
    return to_global_id("Problem", problem.bytes)
