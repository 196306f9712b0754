"""Stopping messages."""

from typing import Annotated

import strawberry

from core.access.principal import Scope
from core.errors import InvalidState, NotFound
from core.messages.cancel import cancel
from resolvers.context import Info
from resolvers.errors import InvalidStateError, NotFoundError
from resolvers.identifiers import uuid_of
from resolvers.messages.queries import message_by_id
from resolvers.messages.types import Message

CancelMessageError = Annotated[
    NotFoundError | InvalidStateError,
    strawberry.union("CancelMessageError", description="Why a message was not stopped."),
]


@strawberry.input(description="Which message is stopped.")
class CancelMessageInput:
    id: strawberry.ID


@strawberry.type(description="The message, which nobody will send any more, or why it was too late.")
class CancelMessagePayload:
    message: Message | None
    errors: list[CancelMessageError]


async def cancel_message(info: Info, input: CancelMessageInput) -> CancelMessagePayload:
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_SEND).tenant_id
    message_id, path = uuid_of(input.id, "Message"), ["input", "id"]
    error: CancelMessageError
    try:
        if message_id is None:
            raise NotFound("There is no such message.")
        await cancel(services.database, services.hub, tenant, message_id)
    except NotFound as refusal:
        error = NotFoundError(message=refusal.message, path=path, id=input.id)
    except InvalidState as refusal:
        error = InvalidStateError(message=refusal.message, path=path, state=refusal.state)
    else:
        return CancelMessagePayload(message=await message_by_id(info, message_id), errors=[])
    return CancelMessagePayload(message=None, errors=[error])
