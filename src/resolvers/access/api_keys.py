"""Listing, creating and revoking API keys."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Union
from uuid import UUID

import strawberry

from core.access import api_keys
from core.access.api_key_lookup import KeyKind
from core.access.api_keys import NewKey
from core.addresses import Address, email_address, phone_address, whatsapp_user_address
from core.errors import InvalidInput, NotFound, Refused
from core.ports.identity import Scope
from core.words import say
from resolvers.access.types import ApiKey, api_key_of
from resolvers.context import Info
from resolvers.errors import InvalidInputError, NotFoundError, input_errors, not_found_error
from resolvers.fields import given
from resolvers.global_ids import uuid_of
from resolvers.inputs import RecipientInput
from resolvers.pagination import PageInfo, page_info_of, slice_of, write_cursor


def recipients_of(written: Sequence[RecipientInput]) -> Sequence[Address]:
    """Read recipients; raises Refused with all that is wrong with them."""
    found: list[Address] = []
    errors: list[InvalidInput] = []
    for place, one in enumerate(written):
        try:
            found.append(_address(one, ["input", "allowedRecipients", str(place)]))
        except InvalidInput as error:
            errors.append(error)
    if errors:
        raise Refused(errors)
    return found


def _address(written: RecipientInput, place: Sequence[str]) -> Address:
    if (phone := given(written.phone)) is not None:
        return phone_address(phone, path=[*place, "phone"])
    if (user := given(written.whatsapp_user_id)) is not None:
        return whatsapp_user_address(user, path=[*place, "whatsappUserId"])
    return email_address(given(written.email) or "", path=[*place, "email"])


# Listing, creating and revoking API keys.


_CURSOR = "ApiKeyCursor"

# More may come: clients choose by type from the beginning. A union of one is spelled as a Union all the same.
CreateApiKeyError = Annotated[
    Union[InvalidInputError],  # noqa: UP007
    strawberry.union("CreateApiKeyError", description="Why a key was not created."),
]
RevokeApiKeyError = Annotated[
    Union[NotFoundError],  # noqa: UP007
    strawberry.union("RevokeApiKeyError", description="Why a key was not revoked."),
]


@strawberry.type(description="One API key of a page, and its cursor.")
class ApiKeyEdge:
    cursor: str
    node: ApiKey


@strawberry.type(description="One page of API keys.")
class ApiKeyConnection:
    edges: list[ApiKeyEdge]
    nodes: list[ApiKey]
    page_info: PageInfo


@strawberry.input(description="The key to create.")
class CreateApiKeyInput:
    name: str = strawberry.field(description="A name to recognise the key by, at most 100 characters.")
    kind: KeyKind = KeyKind.LIVE
    scopes: list[Scope] = strawberry.field(description="What the key allows. Only scopes that you have yourself.")
    allowed_recipients: list[RecipientInput] = strawberry.field(
        default_factory=list,
        description="The recipients that its messages may reach, 1 to 100. Only for the kind `ALLOW_LIST`.",
    )
    expires_in: timedelta | None = strawberry.field(
        default=strawberry.UNSET,
        description="How long the key is valid, from `PT1M` to `P3650D`. Default: it does not expire.",
    )


@strawberry.type(description="The key with its secret, which is shown only once; or why it was not created.")
class CreateApiKeyPayload:
    api_key: ApiKey | None
    secret: str | None = strawberry.field(description="The secret key. It is not stored: save it now.")
    errors: list[CreateApiKeyError]


@strawberry.input(description="The key to revoke.")
class RevokeApiKeyInput:
    id: strawberry.ID


@strawberry.type(description="The revoked key, or why it was not revoked.")
class RevokeApiKeyPayload:
    api_key: ApiKey | None
    errors: list[RevokeApiKeyError]


async def list_api_keys(
    info: Info,
    first: int | None = strawberry.UNSET,
    after: str | None = strawberry.UNSET,
    last: int | None = strawberry.UNSET,
    before: str | None = strawberry.UNSET,
) -> ApiKeyConnection:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    which = slice_of(first, after, last, before, _CURSOR)
    async with info.context.services.database.transaction(tenant) as connection:
        rows, has_more = await api_keys.api_keys_page(connection, tenant, which)
    edges = [ApiKeyEdge(cursor=write_cursor(_CURSOR, row.id), node=api_key_of(row)) for row in rows]
    page_info = page_info_of(which, [edge.cursor for edge in edges], has_more=has_more)
    return ApiKeyConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=page_info)


async def create_api_key(info: Info, input: CreateApiKeyInput) -> CreateApiKeyPayload:
    maker, services = info.context.require(Scope.OPERATIONS_WRITE), info.context.services
    tenant, by = maker.tenant_id, maker.subject
    try:
        recipients = recipients_of(input.allowed_recipients)
        key = NewKey(input.name, input.kind, frozenset(input.scopes), recipients, given(input.expires_in))
        async with services.database.transaction(tenant) as connection:
            made, secret = await api_keys.create_api_key(
                connection, services.sealer, tenant, key, maker=maker, created_by=by
            )
            await info.context.act.done(connection, "ApiKey", [made.id])
    except Refused as error:
        return CreateApiKeyPayload(api_key=None, secret=None, errors=input_errors(info, error))
    return CreateApiKeyPayload(api_key=api_key_of(made), secret=secret, errors=[])


async def revoke_api_key(info: Info, input: RevokeApiKeyInput) -> RevokeApiKeyPayload:
    services, tenant = info.context.services, info.context.require(Scope.OPERATIONS_WRITE).tenant_id
    key, revoked = uuid_of(input.id, "ApiKey"), None
    if key is not None:
        async with services.database.transaction(tenant) as connection:
            revoked = await api_keys.revoke_api_key(connection, tenant, key)
            await info.context.act.done(connection, "ApiKey", [] if revoked is None else [key])
    if revoked is None:
        unknown = NotFound(say("API_KEY_NOT_FOUND", "There is no such API key."))
        return RevokeApiKeyPayload(api_key=None, errors=[not_found_error(info, unknown, input.id, ["input", "id"])])
    # After the commit, or a request in between would remember what was.
    services.key_ring.forget(revoked.public_id)
    return RevokeApiKeyPayload(api_key=api_key_of(revoked), errors=[])


async def api_keys_by_id(info: Info, ids: Collection[UUID]) -> Mapping[UUID, ApiKey]:
    """Keys of the caller's organisation, with `OPERATIONS_READ`, or the one that asks; no others."""
    principal, services = info.context.principal, info.context.services
    if principal is None:
        return {}
    if any(one != principal.api_key for one in ids):
        principal.require(Scope.OPERATIONS_READ)
    async with services.database.transaction(principal.tenant_id) as connection:
        found = await api_keys.api_keys_by_id(connection, principal.tenant_id, ids)
    return {one: api_key_of(row) for one, row in found.items()}
