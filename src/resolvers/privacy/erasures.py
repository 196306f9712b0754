"""Erasing the data of one person, and following the erasure."""

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

import strawberry

from core.errors import InvalidInput, Refused
from core.ports.identity import Scope
from core.privacy import erase
from resolvers.context import Info
from resolvers.errors import InvalidInputError, input_errors
from resolvers.fields import Node
from resolvers.global_ids import to_global_id
from resolvers.inputs import RecipientInput, person_of


@strawberry.type(
    description=(
        "A request to erase the data of one person, and its progress. It does not name the person: store its id "
        "with the person's request."
    )
)
class Erasure(Node):
    messages: int = strawberry.field(
        description="Messages to or from the person whose content and addresses were erased."
    )
    canceled: int = strawberry.field(
        description="Of these, the messages that were canceled or are no longer waited for."
    )
    webhooks: int = strawberry.field(description="Webhooks about the person that were erased.")
    names: int = strawberry.field(
        description="External ids, idempotency keys, batch names and allow-list entries that contained the address."
    )
    requested_at: datetime
    finished_at: datetime | None = strawberry.field(description="Null until a worker has finished.")


@strawberry.input(description="The person to erase.")
class EraseRecipientInput:
    recipient: RecipientInput = strawberry.field(
        description=(
            "One address of the person, in any spelling: a Brazilian mobile number is found with and without its "
            "ninth digit. Send one request for each address."
        )
    )


@strawberry.type(description="The erasure, which you can follow with `node(id:)`, or what is wrong with the address.")
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
