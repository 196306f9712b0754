"""Looking presented keys up, in one statement at a time for all that are wanted meanwhile: a flood costs no more."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, Row, Text, bindparam, text

from core.access.batched import Batched
from core.access.key_format import KeyKind
from core.access.reach import EVERYWHERE, Reach
from core.database import Database
from core.sealing import SealBroken, Sealer

COLUMN = "recipients"

log = structlog.get_logger(__name__)

# Nobody's rows can be seen before it is known whose they are: PostgreSQL is asked in a transaction without tenants.
_PRESENTED = text("SELECT * FROM keys_presented(:wanted)").bindparams(bindparam("wanted", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as our books have it, at the moment it was looked up."""

    id: UUID
    tenant_id: UUID
    name: str
    kind: KeyKind
    hash: bytes = field(repr=False)
    scopes: frozenset[str]
    reach: Reach
    expires_at: datetime | None
    is_expired: bool
    is_revoked: bool


class KeyFinder:
    """Finds keys by their names."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._keys: Batched[str, KnownKey] = Batched(self._look_up)

    async def find(self, name: str) -> KnownKey | None:
        """What is known of a key; None where there is none of that name. Raises Overloaded."""
        return await self._keys.find(name)

    async def _look_up(self, names: Sequence[str]) -> dict[str, KnownKey]:
        async with self._database.transaction() as connection:
            rows = (await connection.execute(_PRESENTED, {"wanted": names})).all()
        return {row.public_id: self._known(row) for row in rows}

    def _known(self, row: Row[Any]) -> KnownKey:
        kind = KeyKind(row.kind)
        return KnownKey(
            id=row.id,
            tenant_id=row.tenant_id,
            name=row.public_id,
            kind=kind,
            hash=row.secret_hash,
            scopes=frozenset(row.scopes),
            reach=self._reach(kind, row),
            expires_at=row.expires_at,
            is_expired=row.is_expired,
            is_revoked=row.is_revoked,
        )

    def _reach(self, kind: KeyKind, row: Row[Any]) -> Reach:
        match kind:
            case KeyKind.LIVE:
                return EVERYWHERE
            case KeyKind.TEST:
                return Reach(simulated_only=True)
            case KeyKind.ALLOW_LIST:
                return Reach(recipients=self._recipients(row))

    def _recipients(self, row: Row[Any]) -> frozenset[str]:
        try:
            opened = self._sealer.open(row.recipients_sealed or b"", tenant=row.tenant_id, row=row.id, column=COLUMN)
        except SealBroken as error:
            # A list nobody can read names nobody: the key comes in, and its messages reach no one.
            log.error("recipients_unreadable", key=row.public_id, reason=str(error))
            return frozenset()
        return frozenset(json.loads(opened))
