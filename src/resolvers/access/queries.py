"""Reading who is asking."""

from uuid import UUID

from core.access import read
from core.access.principal import Scope
from resolvers.access.api_keys import api_key_by_id
from resolvers.access.types import Organization, User, Viewer, organization_of, user_of, viewer_of
from resolvers.context import Info


async def get_viewer(info: Info) -> Viewer | None:
    principal, services = info.context.principal, info.context.services
    if principal is None:
        return None
    key = await api_key_by_id(info, principal.api_key) if principal.api_key else None
    async with services.database.transaction(principal.tenant_id) as connection:
        is_person = principal.api_key is None
        user = await read.user_of(connection, services.sealer, principal.subject) if is_person else None
        organization = await read.organization_of(connection, principal.tenant_id)
    return viewer_of(principal, user, key, organization)


async def user_by_id(info: Info, user_id: UUID) -> User | None:
    """The caller, or with `OPERATIONS_READ` anybody of the caller's organisation; None for everybody else."""
    principal, services = info.context.principal, info.context.services
    if principal is None:
        return None
    tenant = principal.tenant_id if Scope.OPERATIONS_READ in principal.scopes else None
    async with services.database.transaction(principal.tenant_id) as connection:
        found = await read.user_by_id(connection, services.sealer, user_id, tenant=tenant, subject=principal.subject)
    return None if found is None else user_of(found)


async def organization_by_id(info: Info, organization_id: UUID) -> Organization | None:
    """The caller's own organisation; None for any other."""
    principal, services = info.context.principal, info.context.services
    if principal is None or principal.tenant_id != organization_id:
        return None
    async with services.database.transaction(principal.tenant_id) as connection:
        found = await read.organization_of(connection, organization_id)
    return None if found is None else organization_of(found)
