"""Taking a message in: everything is checked first, then message, event and idempotency key are committed as one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.errors import AppError, InputRule, InvalidInput, NotConfigured, Refused
from core.idempotency import IdempotentRequest, claim_key, earlier_use
from core.identifiers import uuid7
from core.messages.addresses import Address, email_address, phone_address, whatsapp_user_address
from core.messages.content import content_to_json
from core.messages.replies import Answered, check_answered
from core.messages.route import Step, route_to_json
from core.messages.tables import message_events, messages
from core.messages.values import Direction, EventSource, MessageStatus
from core.ports import Channel, Content
from core.pubsub import Change, Hub
from core.sealing import Sealer
from core.templates.use import Worded, word
from core.templates.values import TemplateUse

MAX_STEPS = 10


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as the caller wrote it: exactly one of `phone`, `email` and `whatsapp_user_id` says to whom."""

    content: Content | TemplateUse
    route: Sequence[Step]
    phone: str | None = None
    email: str | None = None
    whatsapp_user_id: str | None = None
    in_reply_to: Answered | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message we answer for; `is_replay` when an earlier request with the same key made it."""

    message_id: UUID
    is_replay: bool


@dataclass(frozen=True, slots=True)
class ChannelService:
    """Who serves a channel here, and what to say when nobody does; `is_configured` decides which."""

    integration: str
    is_configured: bool
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Outbox:
    """Where messages are handed in. `wake` tells a worker that a channel has work; losing that loses nothing."""

    database: Database
    sealer: Sealer
    hub: Hub
    channels: Mapping[Channel, ChannelService]
    wake: Callable[[Channel], Awaitable[None]]

    async def accept(self, tenant_id: UUID, draft: Draft) -> Accepted:
        """Store a message and answer for it from then on.

        Raises Refused with everything that is wrong with the draft, NotFound, IdempotencyConflict, or Overloaded;
        nothing is stored then.
        """
        channels = [step.channel for step in draft.route[:MAX_STEPS]]
        worded = await word(self.database, tenant_id, draft.content, channels, ["input", "content"])
        try:
            address = self._check(draft, worded)
        except Refused:
            if (earlier := await self._accepted_before(tenant_id, draft, worded)) is not None:
                return Accepted(earlier, is_replay=True)
            raise
        request = self._idempotent(tenant_id, draft, address)
        message_id = uuid7()
        async with self.database.transaction(tenant_id) as connection:
            if request is not None:
                earlier = await claim_key(connection, tenant_id, request, message_id)
                if earlier is not None:
                    return Accepted(earlier, is_replay=True)
            await check_answered(connection, tenant_id, draft.in_reply_to)
            await self._insert(connection, tenant_id, message_id, draft, address, worded)
        await self.wake(draft.route[0].channel)
        await self.hub.publish([Change(tenant_id, message_id)])
        return Accepted(message_id, is_replay=False)

    async def _accepted_before(self, tenant_id: UUID, draft: Draft, worded: Worded) -> UUID | None:
        """Find what this very draft made, when its template would no longer do: who repeats it must not send anew."""
        if draft.idempotency_key is None or not worded.may_have_passed:
            return None
        try:
            request = self._idempotent(tenant_id, draft, _read_address(draft))
        except (InvalidInput, Refused):
            return None
        async with self.database.transaction(tenant_id) as connection:
            return None if request is None else await earlier_use(connection, tenant_id, request)

    def _check(self, draft: Draft, worded: Worded) -> Address:
        errors: list[AppError] = []
        address: Address | None = None
        try:
            address = _read_address(draft)
        except InvalidInput as error:
            errors.append(error)
        errors += worded.errors
        errors += self._route_errors([step.channel for step in draft.route], address)
        if errors or address is None:
            raise Refused(errors)
        return address

    def _route_errors(self, route: Sequence[Channel], address: Address | None) -> list[AppError]:
        path = ["input", "route"]
        if not route:
            text = "The route is empty. Name at least one channel, like [{channel: SMS}]."
            return [InvalidInput(text, path=path, rule=InputRule.REQUIRED)]
        if len(route) > MAX_STEPS:
            return [InvalidInput(f"A route has at most {MAX_STEPS} steps.", path=path, rule=InputRule.TOO_LONG)]
        errors: list[AppError] = []
        for position, channel in enumerate(route):
            here = [*path, str(position), "channel"]
            if channel in route[:position]:
                text = f"{channel} is in the route twice. Name each channel once."
                errors.append(InvalidInput(text, path=here, rule=InputRule.NOT_ALLOWED))
            elif address is not None and not address.serves(channel):
                needed = "an e-mail address" if channel is Channel.EMAIL else "a telephone number"
                text = f"{channel} needs {needed} in `to`."
                errors.append(InvalidInput(text, path=here, rule=InputRule.NOT_ALLOWED))
            elif not (service := self.channels[channel]).is_configured:
                errors.append(NotConfigured(service.advice, integration=service.integration, path=here))
        return errors

    def _idempotent(self, tenant_id: UUID, draft: Draft, address: Address) -> IdempotentRequest | None:
        if draft.idempotency_key is None:
            return None
        content = draft.content
        said = content.canonical() if isinstance(content, TemplateUse) else content_to_json(content)
        canonical = {"to": address.value, "content": said, "route": route_to_json(draft.route)}
        if draft.in_reply_to is not None:
            canonical["inReplyTo"] = str(draft.in_reply_to.id)
        try:
            return IdempotentRequest.of(
                draft.idempotency_key,
                "sendMessage",
                canonical,
                sealer=self.sealer,
                tenant=tenant_id,
                path=["input", "idempotencyKey"],
            )
        except InvalidInput as error:
            raise Refused([error]) from error

    async def _insert(
        self,
        connection: AsyncConnection,
        tenant_id: UUID,
        message_id: UUID,
        draft: Draft,
        address: Address,
        worded: Worded,
    ) -> None:
        place: dict[str, Any] = {"tenant": tenant_id, "row": message_id}
        values = {
            "tenant_id": tenant_id,
            "message_id": message_id,
            "channel": draft.route[0].channel.value,
            "route": route_to_json(draft.route),
            "to_sealed": self.sealer.seal(address.value, column="to", **place),
            "to_masked": address.masked,
            "to_hash": self.sealer.lookup_hash(address.value, tenant=tenant_id),
            "content_sealed": self.sealer.seal(worded.to_json(), column="content", **place),
            "template_id": worded.filled.template_id if worded.filled else None,
            "in_reply_to": draft.in_reply_to.id if draft.in_reply_to else None,
        }
        await connection.execute(_INSERT, values)


# Message and event in one statement, one round trip; built once, since building costs more than running it.
_MESSAGE = insert(messages).values(
    tenant_id=bindparam("tenant_id"),
    id=bindparam("message_id"),
    direction=Direction.OUTBOUND.value,
    status=MessageStatus.QUEUED.value,
    channel=bindparam("channel"),
    route=bindparam("route"),
    to_sealed=bindparam("to_sealed"),
    to_masked=bindparam("to_masked"),
    to_hash=bindparam("to_hash"),
    content_sealed=bindparam("content_sealed"),
    template_id=bindparam("template_id"),
    in_reply_to=bindparam("in_reply_to"),
    due_at=func.now(),
)
_INSERT = (
    insert(message_events)
    .values(
        tenant_id=bindparam("tenant_id"),
        message_id=bindparam("message_id"),
        status=MessageStatus.QUEUED.value,
        channel=bindparam("channel"),
        source=EventSource.API.value,
    )
    .add_cte(_MESSAGE.cte("message"))
)


def _read_address(draft: Draft) -> Address:
    if draft.phone is not None:
        return phone_address(draft.phone, path=["input", "to", "phone"])
    if draft.whatsapp_user_id is not None:
        return whatsapp_user_address(draft.whatsapp_user_id, path=["input", "to", "whatsappUserId"])
    return email_address(draft.email or "", path=["input", "to", "email"])
