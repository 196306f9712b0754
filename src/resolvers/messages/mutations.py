"""Sending messages."""

import strawberry

from core.access.principal import Scope
from core.errors import AppError
from resolvers.context import Info
from resolvers.errors import SendMessageError, user_errors
from resolvers.messages.inputs import SendMessageInput, draft_of
from resolvers.messages.queries import message_by_id
from resolvers.messages.types import Message


@strawberry.type(description="The message, or what is wrong with it.")
class SendMessagePayload:
    message: Message | None = strawberry.field(description="The message as it stands: queued, not yet sent.")
    is_replay: bool = strawberry.field(description="Whether the idempotency key found an earlier message.")
    errors: list[SendMessageError]


async def send_message(info: Info, input: SendMessageInput) -> SendMessagePayload:
    principal = info.context.require(Scope.MESSAGES_SEND)
    try:
        accepted = await info.context.services.outbox.accept(principal.tenant_id, draft_of(input))
    except AppError as error:
        return SendMessagePayload(message=None, is_replay=False, errors=user_errors(info, error))
    message = await message_by_id(info, accepted.message_id)
    return SendMessagePayload(message=message, is_replay=accepted.is_replay, errors=[])
