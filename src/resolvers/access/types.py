"""An API key as clients see it: everything but what lets somebody in."""

from datetime import UTC, datetime

import strawberry

from core.access import api_keys, directory
from core.access.api_key_format import KeyKind
from core.ports.principal import Principal, Scope
from core.rate_limit import BudgetResult
from resolvers.fields import Node
from resolvers.global_ids import to_global_id
from resolvers.scalars import URL, CurrencyCode, EmailAddress, TimeZone


@strawberry.type(description="What a server calls with.")
class ApiKey(Node):
    name: str = strawberry.field(description="To recognise it by; shown, not used.")
    prefix: str = strawberry.field(description="How it begins: `ia_live_` and a part that is no secret.")
    kind: KeyKind
    scopes: list[Scope] = strawberry.field(description="What it allows.")
    allowed_recipients: list[str] = strawberry.field(
        description="The only ones its messages may go to, masked; none unless it is an `ALLOW_LIST`."
    )
    created_at: datetime
    expires_at: datetime | None = strawberry.field(description="From when it lets nobody in; null: it has no end.")
    last_used_at: datetime | None = strawberry.field(description="To the minute or so.")
    revoked_at: datetime | None
    created_by: str = strawberry.field(
        description="Who made it: a person as the sign-in names them, `key:` and the name in another key, or `cli`."
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


@strawberry.type(description="A person who has signed in. Name, e-mail address and picture are null until we are told.")
class User(Node):
    name: str | None
    email: EmailAddress | None
    avatar_url: URL | None
    created_at: datetime = strawberry.field(description="When this server first heard of them.")


@strawberry.type(description="A business. Everything belongs to one, and callers see what belongs to theirs.")
class Organization(Node):
    name: str
    time_zone: TimeZone
    default_currency: CurrencyCode


@strawberry.type(description="What may be asked in a minute, in points; an operation's price is known before it runs.")
class RateLimit:
    limit: int = strawberry.field(description="Points a minute holds. They come back evenly.")
    remaining: int = strawberry.field(description="Points left after this operation.")
    cost: int = strawberry.field(description="Points this operation was worth.")
    resets_at: datetime = strawberry.field(description="When all points are back, if nothing more is asked.")


@strawberry.type(description="Who is asking, and what they may do.")
class Viewer:
    user: User | None = strawberry.field(description="The person; null where a server calls with an API key.")
    api_key: ApiKey | None = strawberry.field(description="The key a server calls with; null for people.")
    organization: Organization | None = strawberry.field(description="The business they act for.")
    scopes: list[Scope] = strawberry.field(description="What the credentials allow.")
    expires_at: datetime | None = strawberry.field(
        description="When the credentials end; fetch fresh ones before. Null when they have no end."
    )
    rate_limit: RateLimit = strawberry.field(
        description="How many points these credentials may still spend; the API keys of a tenant share a budget. The"
        " headers `RateLimit-*` say the same."
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
