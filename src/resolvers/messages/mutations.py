"""Sending messages."""

from collections.abc import Sequence
from uuid import UUID

import strawberry

from core.errors import AppError, NotConfigured
from core.messages import batch as batches
from core.messages import queries
from core.messages.accept import Accepted
from core.messages.batch import BatchDraft, accept_batch
from core.ports.principal import Scope
from resolvers.arguments import given
from resolvers.context import Info
from resolvers.errors import (
    IntegrationUnavailableError,
    SendMessageError,
    SendMessagesError,
    batch_errors,
    unavailable,
    user_errors,
)
from resolvers.messages.batches import MessageBatch, batch_of
from resolvers.messages.inputs import SendMessageInput, SendMessagesInput, draft_of
from resolvers.messages.types import Message, message_of
from resolvers.selection import sealed_asked_for


@strawberry.type(description="The message, or what is wrong with it.")
class SendMessagePayload:
    message: Message | None = strawberry.field(
        description="The message as it stands: queued, or waiting for its hour; not yet sent."
    )
    is_replay: bool = strawberry.field(description="Whether the idempotency key found an earlier message.")
    errors: list[SendMessageError]
    skipped: list[IntegrationUnavailableError] = strawberry.field(
        default_factory=list,
        description="Steps of the route whose provider is not configured: they are left out, and the message uses the"
        " other steps. With `ROUTE_STEPS=strict` the server refuses such a route instead.",
    )


@strawberry.type(description="The batch and what became of each of its messages, or what is wrong with it as a whole.")
class SendMessagesPayload:
    batch: MessageBatch | None
    results: list[SendMessagePayload] = strawberry.field(
        description="One for each message, in their order: a bad one does not hold up the others."
    )
    is_replay: bool = strawberry.field(description="Whether the idempotency key found an earlier batch.")
    errors: list[SendMessagesError]


async def send_message(info: Info, input: SendMessageInput) -> SendMessagePayload:
    principal, act = info.context.require(Scope.MESSAGES_SEND), info.context.act
    try:
        draft = draft_of(input, principal.reach, act.author)
        accepted, skipped = await info.context.services.outbox.hand_in(principal.tenant_id, draft)
    except AppError as error:
        return SendMessagePayload(message=None, is_replay=False, errors=user_errors(info, error))
    act.told_by_rows()
    [payload] = await _payloads(info, principal.tenant_id, [accepted], [skipped])
    return payload


async def send_messages(info: Info, input: SendMessagesInput) -> SendMessagesPayload:
    principal, act = info.context.require(Scope.MESSAGES_SEND), info.context.act
    drafts = [draft_of(one, principal.reach, act.author) for one in input.messages]
    batch = BatchDraft(drafts, input.idempotency_key, given(input.name))
    try:
        accepted = await accept_batch(info.context.services.outbox, principal.tenant_id, batch)
    except AppError as error:
        return SendMessagesPayload(batch=None, results=[], is_replay=False, errors=batch_errors(info, error))
    act.told_by_rows()
    results = await _payloads(info, principal.tenant_id, accepted.results, accepted.skipped)
    shown = await _batch(info, principal.tenant_id, accepted.batch_id)
    return SendMessagesPayload(batch=shown, results=results, is_replay=accepted.is_replay, errors=[])


async def _batch(info: Info, tenant_id: UUID, batch_id: UUID) -> MessageBatch | None:
    """The batch just taken in: whoever may hand one in is told of it, and need not be allowed to read others."""
    async with info.context.services.database.transaction(tenant_id) as connection:
        found = (await batches.batches_of(connection, tenant_id, [batch_id])).get(batch_id)
    return None if found is None else batch_of(found)


async def _payloads(
    info: Info,
    tenant_id: UUID,
    results: Sequence[Accepted | AppError | None],
    skipped: Sequence[Sequence[AppError]],
) -> list[SendMessagePayload]:
    """What clients are told of each; only messages of earlier requests have to be read."""
    earlier = {one.message_id for one in results if isinstance(one, Accepted) and one.message is None}
    found = await _read(info, tenant_id, earlier) if earlier else {}
    payloads = [_payload(info, one, found) for one in results]
    for payload, steps in zip(payloads, skipped, strict=True):
        payload.skipped = (
            [] if payload.errors else [unavailable(info, step) for step in steps if isinstance(step, NotConfigured)]
        )
    return payloads


async def _read(info: Info, tenant_id: UUID, ids: set[UUID]) -> dict[UUID, queries.Message]:
    services = info.context.services
    async with services.database.transaction(tenant_id) as connection:
        return await queries.messages_by_id(connection, services.sealer, tenant_id, ids, sealed=sealed_asked_for(info))


def _payload(info: Info, result: Accepted | AppError | None, found: dict[UUID, queries.Message]) -> SendMessagePayload:
    match result:
        case None:
            return SendMessagePayload(message=None, is_replay=False, errors=[])
        case AppError():
            return SendMessagePayload(message=None, is_replay=False, errors=user_errors(info, result))
        case Accepted(message_id, is_replay, message):
            row = message or found.get(message_id)
            shown = None if row is None else message_of(row)
            return SendMessagePayload(message=shown, is_replay=is_replay, errors=[])
