"""Sending, canceling, retrying and settling messages."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import strawberry

from core.errors import AppError, NotConfigured, NotFound
from core.messages import batch as batches
from core.messages import queries
from core.messages.accept import Accepted
from core.messages.batch import BatchDraft, accept_batch
from core.messages.commands import Decision, SettleRequest, cancel_batch, settle_by_hand
from core.messages.commands import cancel_message as cancel
from core.messages.retry import retry_message as try_again
from core.ports.identity import Scope
from core.words import say
from resolvers.context import Info, sealed_asked_for
from resolvers.errors import (
    IntegrationUnavailableError,
    InvalidInputError,
    InvalidStateError,
    NotFoundError,
    SendMessageError,
    SendMessagesError,
    batch_errors,
    change_errors,
    not_found_error,
    unavailable,
    user_errors,
)
from resolvers.fields import given
from resolvers.global_ids import uuid_of
from resolvers.messages.inputs import RouteStepInput, SendMessageInput, SendMessagesInput, draft_of, step_of
from resolvers.messages.queries import MessageBatch, batch_of
from resolvers.messages.types import Message, message_of


@strawberry.type(description="The message, or what is wrong with it.")
class SendMessagePayload:
    message: Message | None = strawberry.field(
        description="The stored message. It is queued or scheduled, but not sent yet."
    )
    is_replay: bool = strawberry.field(
        description="True if the idempotency key belongs to an earlier message, which is returned."
    )
    errors: list[SendMessageError]
    skipped: list[IntegrationUnavailableError] = strawberry.field(
        default_factory=list,
        description=(
            "Steps of the route whose provider is not configured. They are skipped, and the message uses the other "
            "steps. With `ROUTE_STEPS=strict` the server refuses such a route instead."
        ),
    )


@strawberry.type(description="The batch and a payload for each message, or what is wrong with the whole batch.")
class SendMessagesPayload:
    batch: MessageBatch | None
    results: list[SendMessagePayload] = strawberry.field(
        description="One payload for each message, in the same order. An invalid message does not affect the others."
    )
    is_replay: bool = strawberry.field(
        description="True if the idempotency key belongs to an earlier batch, which is returned."
    )
    errors: list[SendMessagesError]


async def send_message(info: Info, input: SendMessageInput) -> SendMessagePayload:
    principal, act = info.context.require(Scope.MESSAGES_SEND), info.context.act
    try:
        draft = draft_of(input, principal.reach, act.author)
        accepted, skipped = await info.context.services.outbox.hand_in(principal.tenant_id, draft)
    except AppError as error:
        return SendMessagePayload(message=None, is_replay=False, errors=user_errors(info, error))
    act.recorded_by_rows()
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
    act.recorded_by_rows()
    results = await _payloads(info, principal.tenant_id, accepted.results, accepted.skipped)
    shown = await _batch(info, principal.tenant_id, accepted.batch_id)
    return SendMessagesPayload(batch=shown, results=results, is_replay=accepted.is_replay, errors=[])


async def _batch(info: Info, tenant_id: UUID, batch_id: UUID) -> MessageBatch | None:
    """The stored batch: a caller who may send one sees it, also without the right to read others."""
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


# Canceling, retrying and settling messages.


CancelMessageError = Annotated[
    NotFoundError | InvalidStateError,
    strawberry.union("CancelMessageError", description="Why a message was not canceled."),
]
RetryMessageError = Annotated[
    NotFoundError | InvalidStateError | InvalidInputError | IntegrationUnavailableError,
    strawberry.union("RetryMessageError", description="Why a message was not retried."),
]


CancelMessageBatchError = Annotated[
    NotFoundError,
    strawberry.union("CancelMessageBatchError", description="Why a batch was not canceled."),
]
SettleMessageError = Annotated[
    NotFoundError | InvalidStateError | IntegrationUnavailableError,
    strawberry.union("SettleMessageError", description="Why a message was not settled by hand."),
]


@strawberry.input(description="The message to cancel.")
class CancelMessageInput:
    id: strawberry.ID


@strawberry.type(description="The message after canceling, or why it was too late.")
class CancelMessagePayload:
    message: Message | None
    errors: list[CancelMessageError]


@strawberry.input(description="The batch to cancel.")
class CancelMessageBatchInput:
    id: strawberry.ID


@strawberry.type(description="The batch and its counts after canceling. Repeating the mutation gives the same answer.")
class CancelMessageBatchPayload:
    batch: MessageBatch | None
    canceled_count: int = strawberry.field(description="How many of its messages are canceled.")
    too_late_count: int = strawberry.field(
        description="How many could not be canceled: they were sent, may have been sent, or had ended."
    )
    errors: list[CancelMessageBatchError]


@strawberry.input(
    description="How an unconfirmed message is settled. Look it up with the provider first: after a wrong decision it"
    " arrives twice, or not at all."
)
class SettleMessageInput:
    id: strawberry.ID
    decision: Decision = strawberry.field(name="as", description="The decision.")


@strawberry.type(description="The message after the decision, or why it was not settled.")
class SettleMessagePayload:
    message: Message | None
    errors: list[SettleMessageError]


@strawberry.input(
    description="The message to retry. If the provider may already have accepted it, it may arrive twice."
)
class RetryMessageInput:
    id: strawberry.ID
    route: list[RouteStepInput] | None = strawberry.field(
        default=strawberry.UNSET, description="A different route for the retry."
    )
    may_arrive_twice: bool = strawberry.field(
        default=True, description="False: refuse a message that a provider may have accepted, with `MAY_ARRIVE_TWICE`."
    )


@strawberry.type(description="The message, which is back in its queue, or why it is not.")
class RetryMessagePayload:
    message: Message | None
    errors: list[RetryMessageError]


async def cancel_message(info: Info, input: CancelMessageInput) -> CancelMessagePayload:
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_SEND).tenant_id
    try:
        message_id = _known(input.id)
        await cancel(services.database, services.hub, tenant, message_id, act=info.context.act)
    except AppError as error:
        refusals = [one for one in change_errors(info, error, input.id) if isinstance(one, CancelMessageRefusal)]
        return CancelMessagePayload(message=None, errors=refusals)
    return CancelMessagePayload(message=await _changed(info, tenant, message_id), errors=[])


async def retry_message(info: Info, input: RetryMessageInput) -> RetryMessagePayload:
    tenant = info.context.require(Scope.MESSAGES_SEND).tenant_id
    try:
        message_id = _known(input.id)
        await _retry(info, message_id, input)
    except AppError as error:
        return RetryMessagePayload(message=None, errors=change_errors(info, error, input.id))
    return RetryMessagePayload(message=await _changed(info, tenant, message_id), errors=[])


async def _retry(info: Info, message_id: UUID, input: RetryMessageInput) -> None:
    principal, written = info.context.require(Scope.MESSAGES_SEND), given(input.route)
    await try_again(
        info.context.services.outbox,
        principal.tenant_id,
        message_id,
        None if written is None else [step_of(one) for one in written],
        may_double=input.may_arrive_twice,
        reach=principal.reach,
        act=info.context.act,
    )


async def cancel_message_batch(info: Info, input: CancelMessageBatchInput) -> CancelMessageBatchPayload:
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_SEND).tenant_id
    batch_id = uuid_of(input.id, "MessageBatch")
    try:
        if batch_id is None:
            raise NotFound(say("BATCH_NOT_FOUND", "There is no such batch."))
        done = await cancel_batch(services.database, services.hub, tenant, batch_id, act=info.context.act)
    except NotFound as error:
        unknown = not_found_error(info, error, input.id, ["input", "id"])
        return CancelMessageBatchPayload(batch=None, canceled_count=0, too_late_count=0, errors=[unknown])
    async with services.database.transaction(tenant) as connection:
        found = (await batches.batches_of(connection, tenant, [batch_id])).get(batch_id)
    batch = None if found is None else batch_of(found)
    return CancelMessageBatchPayload(batch=batch, canceled_count=done.canceled, too_late_count=done.too_late, errors=[])


async def settle_message(info: Info, input: SettleMessageInput) -> SettleMessagePayload:
    services, principal = info.context.services, info.context.require(Scope.OPERATIONS_WRITE)
    try:
        asked = SettleRequest(_known(input.id), input.decision, principal.reach)
        await settle_by_hand(services.outbox, principal.tenant_id, asked, act=info.context.act)
    except AppError as error:
        refusals = [one for one in change_errors(info, error, input.id) if isinstance(one, SettleMessageRefusal)]
        return SettleMessagePayload(message=None, errors=refusals)
    return SettleMessagePayload(message=await _changed(info, principal.tenant_id, asked.message_id), errors=[])


CancelMessageRefusal = NotFoundError | InvalidStateError
SettleMessageRefusal = NotFoundError | InvalidStateError | IntegrationUnavailableError


def _known(written: strawberry.ID) -> UUID:
    found = uuid_of(written, "Message")
    if found is None:
        raise NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
    return found


async def _changed(info: Info, tenant: UUID, message_id: UUID) -> Message | None:
    """The message as it is now: a caller who may change it sees the result, and its content if they may read it."""
    services, principal = info.context.services, info.context.principal
    may_read = principal is not None and Scope.MESSAGES_READ in principal.scopes
    unreadable = frozenset[str]() if may_read else {"content"}
    sealed = sealed_asked_for(info) - unreadable
    async with services.database.transaction(tenant) as connection:
        found = await queries.messages_by_id(connection, services.sealer, tenant, [message_id], sealed=sealed)
    return message_of(found[message_id]) if message_id in found else None
