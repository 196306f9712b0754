"""Any object by its id: unknown, foreign and malformed ids are answered alike, with nothing."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import strawberry

from core.access.principal import Scope
from core.messages import history
from resolvers.access.queries import organization_by_id, user_by_id
from resolvers.context import Info
from resolvers.identifiers import from_global_id
from resolvers.messages.batches import batch_by_id
from resolvers.messages.events import event_of
from resolvers.messages.queries import message_by_id
from resolvers.messages.types import attempt_of
from resolvers.node import Node
from resolvers.operations.audit import audit_event_by_id
from resolvers.operations.dead_letters import dead_letters_by_id
from resolvers.operations.types import integration_of
from resolvers.operations.webhooks import webhook_by_id
from resolvers.privacy.erasures import erasure_by_id
from resolvers.templates.queries import template_by_id


async def get_node(info: Info, id: strawberry.ID) -> Node | None:
    if info.context.principal is None:
        info.context.require(Scope.MESSAGES_READ)
    found = from_global_id(id)
    if found is None or found[0] not in _FETCHERS:
        return None
    return await _FETCHERS[found[0]](info, found[1])


async def _message(info: Info, key: bytes) -> Node | None:
    return await message_by_id(info, UUID(bytes=key)) if len(key) == 16 else None


async def _batch(info: Info, key: bytes) -> Node | None:
    return await batch_by_id(info, UUID(bytes=key)) if len(key) == 16 else None


async def _attempt(info: Info, key: bytes) -> Node | None:
    if len(key) != 18:
        return None
    number = int.from_bytes(key[16:], "big")
    attempts = await info.context.attempts.load(UUID(bytes=key[:16]))
    return next((attempt_of(info, one) for one in attempts if one.number == number), None)


async def _event(info: Info, key: bytes) -> Node | None:
    if len(key) != 24 or key[16] >= 0x80:
        return None
    services, tenant = info.context.services, info.context.require(Scope.MESSAGES_READ).tenant_id
    async with services.database.transaction(tenant) as connection:
        sequence = int.from_bytes(key[16:], "big")
        view = await history.event_by_place(connection, tenant, UUID(bytes=key[:16]), sequence)
    return None if view is None else event_of(view)


async def _template(info: Info, key: bytes) -> Node | None:
    return await template_by_id(info, UUID(bytes=key)) if len(key) == 16 else None


async def _integration(info: Info, key: bytes) -> Node | None:
    info.context.require(Scope.OPERATIONS_READ)
    name = key.decode(errors="replace")
    return integration_of(info, name) if name in info.context.services.integrations else None


async def _webhook(info: Info, key: bytes) -> Node | None:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    return await webhook_by_id(info, tenant, UUID(bytes=key)) if len(key) == 16 else None


async def _dead_letter(info: Info, key: bytes) -> Node | None:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    return next(iter(await dead_letters_by_id(info, tenant, [UUID(bytes=key)] if len(key) == 16 else [])), None)


async def _audit_event(info: Info, key: bytes) -> Node | None:
    return await audit_event_by_id(info, UUID(bytes=key)) if len(key) == 16 else None


async def _erasure(info: Info, key: bytes) -> Node | None:
    return await erasure_by_id(info, UUID(bytes=key)) if len(key) == 16 else None


async def _user(info: Info, key: bytes) -> Node | None:
    return await user_by_id(info, UUID(bytes=key)) if len(key) == 16 else None


async def _organization(info: Info, key: bytes) -> Node | None:
    return await organization_by_id(info, UUID(bytes=key)) if len(key) == 16 else None


_FETCHERS: dict[str, Callable[[Info, bytes], Awaitable[Node | None]]] = {
    "Message": _message,
    "MessageAttempt": _attempt,
    "MessageBatch": _batch,
    "MessageEvent": _event,
    "Integration": _integration,
    "WebhookDelivery": _webhook,
    "DeadLetter": _dead_letter,
    "AuditEvent": _audit_event,
    "Erasure": _erasure,
    "Template": _template,
    "User": _user,
    "Organization": _organization,
}
