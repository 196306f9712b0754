"""Reading the caller, people and organisations."""

from collections.abc import Collection, Mapping
from uuid import UUID

from core.access import directory
from core.ports.identity import Scope
from resolvers.access.api_keys import api_keys_by_id
from resolvers.access.types import Organization, User, Viewer, organization_of, user_of, viewer_of
from resolvers.context import Info


async def get_viewer(info: Info) -> Viewer | None:
    principal, services = info.context.principal, info.context.services
    if principal is None:
        return None
    keys = await api_keys_by_id(info, [principal.api_key]) if principal.api_key else {}
    async with services.database.transaction(principal.tenant_id) as connection:
        is_person = principal.api_key is None
        user = await directory.load_user(connection, services.sealer, principal.subject) if is_person else None
        organization = await directory.load_organization(connection, principal.tenant_id)
    return viewer_of(principal, user, next(iter(keys.values()), None), organization, info.context.allowance)


async def users_by_id(info: Info, ids: Collection[UUID]) -> Mapping[UUID, User]:
    """The caller, and with `OPERATIONS_READ` everybody of the caller's organisation; no one else."""
    principal, services = info.context.principal, info.context.services
    if principal is None:
        return {}
    tenant = principal.tenant_id if Scope.OPERATIONS_READ in principal.scopes else None
    async with services.database.transaction(principal.tenant_id) as connection:
        found = await directory.users_by_id(connection, services.sealer, ids, tenant=tenant, subject=principal.subject)
    return {one: user_of(user) for one, user in found.items()}


async def organizations_by_id(info: Info, ids: Collection[UUID]) -> Mapping[UUID, Organization]:
    """The caller's own organisation, if it is among them; no other."""
    principal, services = info.context.principal, info.context.services
    if principal is None or principal.tenant_id not in ids:
        return {}
    tenant = principal.tenant_id
    async with services.database.transaction(tenant) as connection:
        found = await directory.load_organization(connection, tenant)
    return {} if found is None else {tenant: organization_of(found)}
