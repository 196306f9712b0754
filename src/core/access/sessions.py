"""From a verified session to a principal; people and organisations nobody has told us of yet are noted on the way."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.news import keep_organization, keep_subject
from core.access.principal import DEFAULT_TENANT, Principal
from core.access.tables import memberships
from core.database import Database
from core.ports import Identity, IdentityVerifier, InvalidToken, OrganizationNamed, Tenancy, TokenFault
from core.words import say

KNOWN_SECONDS = 15.0
"""How long what was looked up is believed: a person who was deleted may come in for so long."""
MOST_KNOWN = 10_000
# Nobody's rows can be seen before it is known whose they may be: PostgreSQL is asked in a transaction without tenants.
_STANDING = text("SELECT tenant_id, user_id, is_gone, left_at FROM how_they_stand(:subject, :organization)")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a person stands with an organisation, by our own books."""

    tenant_id: UUID
    is_gone: bool
    left_at: datetime | None


class Sessions:
    """Lets people in who have signed in elsewhere."""

    def __init__(
        self, database: Database, verifier: IdentityVerifier, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._verifier = verifier
        self._clock = clock
        self._known: OrderedDict[tuple[str, str | None], tuple[float, Standing]] = OrderedDict()

    async def authenticate(self, token: str, *, needs_party: bool = False) -> Principal:
        """Say who a token speaks for, and for which tenant.

        Raises InvalidToken, and Overloaded where keys or books cannot be read at the moment.
        """
        identity = await self._verifier.verify(token, needs_party=needs_party)
        standing = await self._standing(identity)
        # Whoever left and came back has a younger token; the news of it may still be on its way.
        has_left = standing.left_at is not None and identity.issued_at <= standing.left_at
        if standing.is_gone or has_left:
            raise InvalidToken(
                say(
                    "SESSION_GONE",
                    "This person or organisation is no longer known here, or the one has left the other.",
                ),
                reason=TokenFault.GONE,
            )
        return Principal(
            standing.tenant_id, identity.subject, identity.scopes, identity.expires_at.timestamp(), identity.actor
        )

    async def _standing(self, identity: Identity) -> Standing:
        key, now = (identity.subject, _organization_id(identity)), self._clock()
        known = self._known.get(key)
        if known is not None and now - known[0] < KNOWN_SECONDS:
            return known[1]
        async with self._database.transaction() as connection:
            standing = await _look_up(connection, identity)
        standing = standing or await self._note(identity)
        self._known[key] = (now, standing)
        self._known.move_to_end(key)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return standing

    async def _note(self, identity: Identity) -> Standing:
        """Make the rows that are missing; what is in them already is left as it is.

        Each in a transaction of its own: whoever held one row and waited for another could meet a worker that applies
        news of the same rows in another order.
        """
        async with self._database.transaction() as connection:
            user = await keep_subject(connection, identity.subject)
        organization, tenant = _organization_id(identity), DEFAULT_TENANT
        if organization is not None:
            async with self._database.transaction() as connection:
                tenant = await keep_organization(connection, OrganizationNamed(organization))
        role = identity.organization.role if identity.organization is not None else None
        joined = insert(memberships).values(tenant_id=tenant, user_id=user, role=role)
        async with self._database.transaction(tenant) as connection:
            await connection.execute(joined.on_conflict_do_nothing())
        return Standing(tenant, is_gone=False, left_at=None)


def _organization_id(identity: Identity) -> str | None:
    """What the tenant is found by; None is the one business here."""
    if identity.tenancy is Tenancy.DEFAULT:
        return None
    return identity.organization.id if identity.organization is not None else identity.subject


async def _look_up(connection: AsyncConnection, identity: Identity) -> Standing | None:
    """Read how they stand, of whichever tenant it turns out to be; None as long as a row of it is missing."""
    asked = {"subject": identity.subject, "organization": _organization_id(identity)}
    row = (await connection.execute(_STANDING, asked)).one()
    if row.user_id is None and not row.is_gone:
        return None
    # Of somebody who is gone nothing new is noted.
    return Standing(row.tenant_id or DEFAULT_TENANT, row.is_gone, row.left_at)
