"""What an operation's record is about."""

from typing import Annotated
from uuid import UUID

import strawberry

from resolvers.context import Info
from resolvers.messages.types import Message, message_of
from resolvers.selection import sealed_asked_for

Subject = Annotated[Message, strawberry.union("Subject", description="What an operation's record is about.")]


async def subject_of(info: Info, message_id: UUID | None) -> Message | None:
    """The message a record speaks of; None when it speaks of none, or of one the caller has not."""
    if message_id is None:
        return None
    found = await info.context.messages.load((message_id, sealed_asked_for(info)))
    return None if found is None else message_of(found)
