"""Any object by its id: unknown, malformed and other tenants' ids all give null.

Several ids are read together: one statement for each type among them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

import strawberry

from core.errors import InputRule, InvalidInput
from core.messages import queries
from core.ports.identity import Scope
from core.words import say
from resolvers.access.api_keys import api_keys_by_id
from resolvers.access.queries import organizations_by_id, users_by_id
from resolvers.context import Info
from resolvers.fields import Node
from resolvers.global_ids import from_global_id
from resolvers.integrations import integration_of
from resolvers.messages.queries import batch_of, messages_by_id
from resolvers.messages.types import attempt_of, event_of
from resolvers.operations.audit import audit_events_by_id
from resolvers.operations.dead_letters import dead_letters_by_id
from resolvers.operations.webhooks import webhooks_by_id
from resolvers.privacy.erasures import erasures_by_id
from resolvers.problems.queries import problems_by_id
from resolvers.templates.types import template_of

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
    for name in dict.fromkeys(one[0] for one in wanted if one is not None and one[0] in _FETCHERS):
        keys = list(dict.fromkeys(one[1] for one in wanted if one is not None and one[0] == name))
        found |= {(name, key): node for key, node in (await _FETCHERS[name](info, keys)).items()}
    return [None if one is None else found.get(one) for one in wanted]


def _uuids(keys: Sequence[bytes]) -> list[UUID]:
    return [UUID(bytes=key) for key in keys if len(key) == 16]


async def _messages(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.MESSAGES_READ)
    found = await messages_by_id(info, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: message for one, message in found.items()}


async def _batches(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.MESSAGES_READ)
    found = await info.context.batches.load_many(_uuids(keys))
    return {row.id.bytes: batch_of(row) for row in found if row is not None}


async def _attempts(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
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


async def _events(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_READ).tenant_id
    # Beyond that no sequence is a number the database knows.
    sane = [key for key in keys if len(key) == 24 and key[16] < 0x80]
    places = {(UUID(bytes=key[:16]), int.from_bytes(key[16:], "big")): key for key in sane}
    if not places:
        return {}
    async with services.database.transaction(tenant) as connection:
        found = await queries.events_by_sequence(connection, tenant, places)
    return {places[place]: event_of(view) for place, view in found.items()}


async def _templates(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.MESSAGES_READ)
    found = await info.context.templates.load_many(_uuids(keys))
    return {row.id.bytes: template_of(row) for row in found if row is not None}


async def _integrations(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.OPERATIONS_READ)
    names = {key: key.decode(errors="replace") for key in keys}
    known = info.context.services.integrations
    return {key: integration_of(info, name) for key, name in names.items() if name in known}


async def _webhooks(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    found = await webhooks_by_id(info, tenant, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: webhook for one, webhook in found.items()}


async def _dead_letters(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    found = await dead_letters_by_id(info, tenant, ids) if (ids := _uuids(keys)) else []
    return {letter.row.id.bytes: letter for letter in found}


async def _problems(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    found = await problems_by_id(info, tenant, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: problem for one, problem in found.items()}


async def _audit_events(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.OPERATIONS_READ)
    found = await audit_events_by_id(info, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: event for one, event in found.items()}


async def _erasures(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    info.context.require(Scope.OPERATIONS_READ)
    found = await erasures_by_id(info, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: erasure for one, erasure in found.items()}


async def _users(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    found = await users_by_id(info, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: user for one, user in found.items()}


async def _organizations(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    found = await organizations_by_id(info, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: organization for one, organization in found.items()}


async def _api_keys(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    found = await api_keys_by_id(info, ids) if (ids := _uuids(keys)) else {}
    return {one.bytes: key for one, key in found.items()}


_FETCHERS: dict[str, Callable[[Info, Sequence[bytes]], Awaitable[Mapping[bytes, Node]]]] = {
    "Message": _messages,
    "MessageAttempt": _attempts,
    "MessageBatch": _batches,
    "MessageEvent": _events,
    "Integration": _integrations,
    "WebhookDelivery": _webhooks,
    "DeadLetter": _dead_letters,
    "Problem": _problems,
    "AuditEvent": _audit_events,
    "Erasure": _erasures,
    "Template": _templates,
    "User": _users,
    "ApiKey": _api_keys,
    "Organization": _organizations,
}
