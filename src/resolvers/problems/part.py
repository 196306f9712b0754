"""What problems add to the schema."""

from collections.abc import Mapping, Sequence

import strawberry

from core.ports.identity import Scope
from resolvers.context import Info
from resolvers.fields import Node, guarded
from resolvers.global_ids import uuids
from resolvers.parts import SchemaPart
from resolvers.problems.queries import Problem, ProblemConnection, list_problems, problems_by_id


@strawberry.type
class Queries:
    """Root fields of queries."""

    problems: ProblemConnection = guarded(
        list_problems,
        Scope.OPERATIONS_READ,
        "Conditions that need an operator, the newest first.",
    )


async def _fetch_problems(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    found = await problems_by_id(info, tenant, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: problem for one, problem in found.items()}


PART = SchemaPart(queries=Queries, types=[Problem], nodes={"Problem": _fetch_problems})
