"""The GraphQL types of API keys, the caller, people and organisations."""

from datetime import UTC, datetime

import strawberry

from core.access import api_keys, directory
from core.access.api_key_lookup import KeyKind
from core.ports.identity import Principal, Scope
from core.rate_limit import BudgetResult
from resolvers.fields import Node
from resolvers.global_ids import to_global_id
from resolvers.scalars import URL, CurrencyCode, EmailAddress, TimeZone


@strawberry.type(description="The credentials of a server.")
class ApiKey(Node):
    name: str = strawberry.field(description="A name to recognise the key by. It has no effect.")
    prefix: str = strawberry.field(
        description="The first characters of the key: `ia_live_` and a part that is not secret."
    )
    kind: KeyKind
    scopes: list[Scope] = strawberry.field(description="What the key allows.")
    allowed_recipients: list[str] = strawberry.field(
        description="The only recipients of its messages, masked. Empty unless the kind is `ALLOW_LIST`."
    )
    created_at: datetime
    expires_at: datetime | None = strawberry.field(
        description="From this time on the key is not accepted. Null: it does not expire."
    )
    last_used_at: datetime | None = strawberry.field(description="Accurate to about a minute.")
    revoked_at: datetime | None
    created_by: str = strawberry.field(
        description="Who created it: the user id of a person, `key:` and the name of an API key, or `cli`."
    )


def api_key_of(row: api_keys.ApiKey) -> ApiKey:
    """A key as clients see it."""
    return ApiKey(
        id=to_global_id("ApiKey", row.id.bytes),
        name=row.name,
        prefix=row.prefix,
        kind=row.kind,
        scopes=list(row.scopes),
        allowed_recipients=list(row.recipients_masked),
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        created_by=row.created_by,
    )


# The caller, people and organisations.


@strawberry.type(
    description="A person who has signed in. Name, e-mail address and picture are null until Clerk reports them."
)
class User(Node):
    name: str | None
    email: EmailAddress | None
    avatar_url: URL | None
    created_at: datetime = strawberry.field(description="When this server first saw the person.")


@strawberry.type(
    description="A business (tenant). All data belongs to one, and callers see only the data of their own."
)
class Organization(Node):
    name: str
    time_zone: TimeZone
    default_currency: CurrencyCode


@strawberry.type(description="The rate limit in points per minute. The cost of an operation is known before it runs.")
class RateLimit:
    limit: int = strawberry.field(description="Points per minute. They are refilled evenly.")
    remaining: int = strawberry.field(description="Points that are left after this operation.")
    cost: int = strawberry.field(description="The cost of this operation in points.")
    resets_at: datetime = strawberry.field(
        description="When all points are available again, if no more requests are sent."
    )


@strawberry.type(description="The caller, and what it may do.")
class Viewer:
    user: User | None = strawberry.field(description="The person. Null if a server calls with an API key.")
    api_key: ApiKey | None = strawberry.field(description="The API key of the caller. Null for a person.")
    organization: Organization | None = strawberry.field(description="The business that the caller acts for.")
    scopes: list[Scope] = strawberry.field(description="The scopes of the credentials.")
    expires_at: datetime | None = strawberry.field(
        description="When the credentials expire. Get new ones before. Null if they do not expire."
    )
    rate_limit: RateLimit = strawberry.field(
        description=(
            "The points that these credentials may still use. The API keys of a tenant share one budget. The "
            "headers `RateLimit-*` show the same."
        )
    )


def user_of(row: directory.User) -> User:
    """A person as clients see them."""
    profile = row.profile
    return User(
        id=to_global_id("User", row.id.bytes),
        name=profile.name,
        email=EmailAddress(profile.email) if profile.email else None,
        avatar_url=URL(profile.avatar_url) if profile.avatar_url else None,
        created_at=row.created_at,
    )


def organization_of(row: directory.Organization) -> Organization:
    """A business as clients see it."""
    return Organization(
        id=to_global_id("Organization", row.id.bytes),
        name=row.name,
        time_zone=TimeZone(row.time_zone),
        default_currency=CurrencyCode(row.default_currency),
    )


def viewer_of(
    principal: Principal,
    user: directory.User | None,
    key: ApiKey | None,
    organization: directory.Organization | None,
    allowance: BudgetResult,
) -> Viewer:
    """The caller, a person or a key; scopes in the order of the enum."""
    ends = principal.expires_at
    return Viewer(
        user=None if user is None else user_of(user),
        api_key=key,
        organization=None if organization is None else organization_of(organization),
        scopes=[scope for scope in Scope if scope in principal.scopes],
        expires_at=None if ends is None else datetime.fromtimestamp(ends, UTC),
        rate_limit=RateLimit(
            limit=allowance.limit, remaining=allowance.remaining, cost=allowance.cost, resets_at=allowance.resets_at
        ),
    )
