"""Erasing everything about one person, as clients ask for it and follow it."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

import strawberry

from core.errors import InvalidInput, Refused
from core.ports.principal import Scope
from core.privacy import erase
from resolvers.context import Info
from resolvers.errors import InvalidInputError, input_errors
from resolvers.fields import Node
from resolvers.global_ids import to_global_id
from resolvers.messages.inputs import RecipientInput, person_of


@strawberry.type(
    description="Everything about one person on its way out, or gone. Whom it was about is not in it: keep its id where"
    " you keep the request."
)
class Erasure(Node):
    messages: int = strawberry.field(description="Messages to them and from them that lost who and what.")
    canceled: int = strawberry.field(description="Of these, those that were stopped, or no longer waited for.")
    webhooks: int = strawberry.field(description="What companies had sent about them.")
    names: int = strawberry.field(
        description="External ids, idempotency keys and batches named after their address; allow lists that held it."
    )
    requested_at: datetime
    finished_at: datetime | None = strawberry.field(description="Null while a worker is at it.")


@strawberry.input(description="Who is erased.")
class EraseRecipientInput:
    recipient: RecipientInput = strawberry.field(
        description="One of their addresses, however it was written: a Brazilian mobile number is found with its 9 and"
        " without. Ask once for each address they have."
    )


@strawberry.type(description="The erasure, to be followed by `node(id:)`, or what is wrong with the address.")
class EraseRecipientPayload:
    erasure: Erasure | None
    errors: list[InvalidInputError]


async def erase_recipient(info: Info, input: EraseRecipientInput) -> EraseRecipientPayload:
    services, tenant = info.context.services, info.context.require(Scope.OPERATIONS_WRITE).tenant_id
    try:
        person = person_of(input.recipient, ["input", "recipient"])
    except InvalidInput as error:
        return EraseRecipientPayload(erasure=None, errors=input_errors(info, Refused([error])))
    async with services.database.transaction(tenant) as connection:
        id = await erase.request_erasure(connection, services.sealer, tenant, person)
        await info.context.act.done(connection, "Erasure", [id])
        found = await erase.erasures_by_id(connection, tenant, [id])
    return EraseRecipientPayload(erasure=_erasure_of(found[id]), errors=[])


async def erasures_by_id(info: Info, ids: Collection[UUID]) -> Mapping[UUID, Erasure]:
    """Erasures of the caller's tenant; no others."""
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    async with info.context.services.database.transaction(tenant) as connection:
        found = await erase.erasures_by_id(connection, tenant, ids)
    return {one: _erasure_of(row) for one, row in found.items()}


def _erasure_of(row: erase.Erasure) -> Erasure:
    return Erasure(
        id=to_global_id("Erasure", row.id.bytes),
        messages=row.messages,
        canceled=row.canceled,
        webhooks=row.webhooks,
        names=row.names,
        requested_at=row.requested_at,
        finished_at=row.finished_at,
    )
