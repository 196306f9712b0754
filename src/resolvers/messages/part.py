"""What messages add to the schema."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from uuid import UUID

import strawberry

from core.messages import queries
from core.ports.identity import Scope
from resolvers.context import Info, sealed_asked_for
from resolvers.fields import Node, guarded, guarded_stream
from resolvers.global_ids import uuids
from resolvers.messages.mutations import (
    CancelMessageBatchPayload,
    CancelMessagePayload,
    RetryMessagePayload,
    SendMessagePayload,
    SendMessagesPayload,
    SettleMessagePayload,
    cancel_message,
    cancel_message_batch,
    retry_message,
    send_message,
    send_messages,
    settle_message,
)
from resolvers.messages.queries import (
    MessageBatch,
    MessageConnection,
    batch_of,
    get_batch,
    get_message,
    list_messages,
    messages_by_id,
)
from resolvers.messages.subscriptions import MessageStatusChange, message_status_changed
from resolvers.messages.types import Message, MessageAttempt, MessageEvent, attempt_of, event_of, message_of
from resolvers.parts import SchemaPart, SubjectType


@strawberry.type
class Queries:
    """Root fields of queries."""

    message: Message | None = guarded(
        get_message,
        Scope.MESSAGES_READ,
        "One message. Null if it does not exist or you may not see it.",
    )
    messages: MessageConnection = guarded(
        list_messages,
        Scope.MESSAGES_READ,
        "Message history, newest first.",
    )
    message_batch: MessageBatch | None = guarded(
        get_batch,
        Scope.MESSAGES_READ,
        "One batch of messages. Null if it does not exist or you may not see it.",
    )


@strawberry.type
class Mutations:
    """Root fields of mutations."""

    send_message: SendMessagePayload = guarded(
        send_message,
        Scope.MESSAGES_SEND,
        "Send one message over one channel, or over several with fallbacks.",
    )
    send_messages: SendMessagesPayload = guarded(
        send_messages,
        Scope.MESSAGES_SEND,
        "Send up to 500 messages. Each is checked separately.",
    )
    cancel_message: CancelMessagePayload = guarded(
        cancel_message,
        Scope.MESSAGES_SEND,
        "Cancel a message that was not sent yet.",
    )
    cancel_message_batch: CancelMessageBatchPayload = guarded(
        cancel_message_batch,
        Scope.MESSAGES_SEND,
        "Cancel all messages of a batch that were not sent yet.",
    )
    retry_message: RetryMessagePayload = guarded(
        retry_message,
        Scope.MESSAGES_SEND,
        "Retry a failed message, with a full number of new tries.",
    )
    settle_message: SettleMessagePayload = guarded(
        settle_message,
        Scope.OPERATIONS_WRITE,
        "Settle an unconfirmed message by hand. Look it up with the provider first: `RESEND` may send it twice, and"
        " `SENT` or `FAILED` may be wrong. A report that arrives later still applies.",
    )


@strawberry.type
class Subscriptions:
    """Root fields of subscriptions."""

    message_status_changed: AsyncGenerator[MessageStatusChange, None] = guarded_stream(
        message_status_changed,
        Scope.MESSAGES_READ,
        (
            "Status changes of messages that match the filter. For messages given by id, the current state comes "
            "first. With `after`, the changes since that cursor come first; a cursor is valid for one hour (then "
            "`CURSOR_EXPIRED`)."
        ),
    )


async def _fetch_messages(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.MESSAGES_READ)
    found = await messages_by_id(info, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: message for one, message in found.items()}


async def _fetch_batches(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.MESSAGES_READ)
    found = await info.context.batches.load_many(uuids(keys))
    return {row.id.bytes: batch_of(row) for row in found if row is not None}


async def _fetch_attempts(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.MESSAGES_READ)
    whose = {key: UUID(bytes=key[:16]) for key in keys if len(key) == 18}
    messages = list(dict.fromkeys(whose.values()))
    known = dict(zip(messages, await info.context.attempts.load_many(messages), strict=True))
    return {
        key: attempt_of(info, attempt)
        for key, message in whose.items()
        for attempt in known[message]
        if attempt.number == int.from_bytes(key[16:], "big")
    }


async def _fetch_events(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_READ).tenant_id
    # Beyond that no sequence is a number the database knows.
    sane = [key for key in keys if len(key) == 24 and key[16] < 0x80]
    places = {(UUID(bytes=key[:16]), int.from_bytes(key[16:], "big")): key for key in sane}
    if not places:
        return {}
    async with services.database.transaction(tenant) as connection:
        found = await queries.events_by_sequence(connection, tenant, places)
    return {places[place]: event_of(view) for place, view in found.items()}


async def _load_subject(info: Info, id: UUID) -> Message | None:
    found = await info.context.messages.load((id, sealed_asked_for(info)))
    return None if found is None else message_of(found)


PART = SchemaPart(
    queries=Queries,
    mutations=Mutations,
    subscriptions=Subscriptions,
    types=[Message, MessageAttempt, MessageBatch, MessageEvent],
    nodes={
        "Message": _fetch_messages,
        "MessageAttempt": _fetch_attempts,
        "MessageBatch": _fetch_batches,
        "MessageEvent": _fetch_events,
    },
    subjects={"Message": SubjectType(Message, _load_subject)},
)
