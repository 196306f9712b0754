"""An API key as clients see it: everything but what lets somebody in."""

from datetime import datetime

import strawberry

from core.access import api_keys
from core.access.api_key_format import KeyKind
from core.ports.principal import Scope
from resolvers.identifiers import to_global_id
from resolvers.node import Node


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
