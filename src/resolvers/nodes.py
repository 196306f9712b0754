"""Any object by its id: unknown, malformed and other tenants' ids all give null.

Several ids are read together: one statement for each type among them.
"""

from collections.abc import Sequence

import strawberry

from core.errors import InputRule, InvalidInput
from core.ports.identity import Scope
from core.words import say
from resolvers.context import Info
from resolvers.fields import Node
from resolvers.global_ids import from_global_id
from resolvers.parts import all_fetchers

MOST_IDS = 100


async def get_node(info: Info, id: strawberry.ID) -> Node | None:
    [found] = await _nodes(info, [id])
    return found


async def get_nodes(info: Info, ids: list[strawberry.ID]) -> list[Node | None]:
    if len(ids) > MOST_IDS:
        text = say("TOO_MANY_IDS", "Give at most {most} ids.", most=MOST_IDS)
        raise InvalidInput(text, path=["ids"], rule=InputRule.TOO_LONG)
    return await _nodes(info, ids)


async def _nodes(info: Info, ids: Sequence[str]) -> list[Node | None]:
    if info.context.principal is None:
        info.context.require(Scope.MESSAGES_READ)
    wanted = [from_global_id(one) for one in ids]
    found: dict[tuple[str, bytes], Node] = {}
    fetchers = all_fetchers()
    for name in dict.fromkeys(one[0] for one in wanted if one is not None and one[0] in fetchers):
        keys = list(dict.fromkeys(one[1] for one in wanted if one is not None and one[0] == name))
        found |= {(name, key): node for key, node in (await fetchers[name](info, keys)).items()}
    return [None if one is None else found.get(one) for one in wanted]
