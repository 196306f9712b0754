"""What privacy adds to the schema: erasures."""

from collections.abc import Mapping, Sequence

import strawberry

from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import Node, guarded
from resolvers.global_ids import uuids
from resolvers.parts import SchemaPart
from resolvers.privacy.erasures import EraseRecipientPayload, Erasure, erase_recipient, erasures_by_id


@strawberry.type
class Mutations:
    """Root fields of mutations."""

    erase_recipient: EraseRecipientPayload = guarded(
        erase_recipient,
        Scope.OPERATIONS_WRITE,
        (
            "Erase the addresses and contents of all messages to and from a person, and cancel messages that wait. "
            "Statuses and times stay. A worker carries it out: follow the erasure. It does not block new messages "
            "to the person."
        ),
    )


async def _fetch_erasures(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.OPERATIONS_READ)
    found = await erasures_by_id(info, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: erasure for one, erasure in found.items()}


PART = SchemaPart(mutations=Mutations, types=[Erasure], nodes={"Erasure": _fetch_erasures})
