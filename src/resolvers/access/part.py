"""What access adds to the schema: the caller, people and organisations, API keys."""

from collections.abc import Mapping, Sequence

import strawberry

from core.ports.identity import Scope
from resolvers.access.api_keys import (
    ApiKeyConnection,
    CreateApiKeyPayload,
    RevokeApiKeyPayload,
    api_keys_by_id,
    create_api_key,
    list_api_keys,
    revoke_api_key,
)
from resolvers.access.queries import get_viewer, organizations_by_id, users_by_id
from resolvers.access.types import ApiKey, Organization, User, Viewer
from resolvers.context import Info
from resolvers.fields import Node, guarded
from resolvers.global_ids import uuids
from resolvers.parts import SchemaPart


@strawberry.type
class Queries:
    """Root fields of queries."""

    viewer: Viewer | None = strawberry.field(resolver=get_viewer, description="The caller. Null without credentials.")
    api_keys: ApiKeyConnection = guarded(
        list_api_keys,
        Scope.OPERATIONS_READ,
        "API keys, newest first, including revoked and expired ones.",
    )


@strawberry.type
class Mutations:
    """Root fields of mutations."""

    create_api_key: CreateApiKeyPayload = guarded(
        create_api_key,
        Scope.OPERATIONS_WRITE,
        "Create an API key for a server, with scopes that you have yourself. Its secret is shown only once.",
    )
    revoke_api_key: RevokeApiKeyPayload = guarded(
        revoke_api_key,
        Scope.OPERATIONS_WRITE,
        "Revoke an API key for good. Its open sockets and streams end within seconds.",
    )


async def _fetch_users(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    found = await users_by_id(info, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: user for one, user in found.items()}


async def _fetch_organizations(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    found = await organizations_by_id(info, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: organization for one, organization in found.items()}


async def _fetch_api_keys(info: Info, keys: Sequence[bytes]) -> Mapping[bytes, Node]:
    found = await api_keys_by_id(info, ids) if (ids := uuids(keys)) else {}
    return {one.bytes: key for one, key in found.items()}


PART = SchemaPart(
    queries=Queries,
    mutations=Mutations,
    types=[ApiKey, Organization, User],
    nodes={"User": _fetch_users, "ApiKey": _fetch_api_keys, "Organization": _fetch_organizations},
)
