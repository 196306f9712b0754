"""Looking presented keys up, in one statement at a time for all that are wanted meanwhile: a flood costs no more."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, Row, Text, bindparam, text

from core.access.key_format import KeyKind
from core.access.reach import EVERYWHERE, Reach
from core.database import Database
from core.errors import Overloaded
from core.sealing import SealBroken, Sealer
from core.words import say

MOST_AT_ONCE = 500
MOST_WAITING = 10_000
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
        self._wanted: dict[str, asyncio.Future[KnownKey | None]] = {}
        self._work: asyncio.Task[None] | None = None

    async def find(self, name: str) -> KnownKey | None:
        """What is known of a key; None where there is none of that name. Raises Overloaded."""
        found = self._wanted.get(name)
        if found is None:
            if len(self._wanted) >= MOST_WAITING:
                raise Overloaded(
                    say("API_KEYS_CROWD", "Too many unknown API keys are being presented at once."), retry_after=1
                )
            found = self._wanted[name] = asyncio.get_running_loop().create_future()
            if self._work is None or self._work.done():
                self._work = asyncio.create_task(self._look_up_all())
        # Whoever leaves in the middle takes nothing from the others.
        return await asyncio.shield(found)

    async def _look_up_all(self) -> None:
        while self._wanted:
            batch = {name: self._wanted.pop(name) for name in list(self._wanted)[:MOST_AT_ONCE]}
            try:
                known = await self._look_up(list(batch))
            except Exception as error:  # noqa: BLE001  # it is the callers' to raise
                _fail(list(batch.values()), error)
            except BaseException:
                ending = Overloaded(say("SERVER_ENDING", "The server is ending."), retry_after=1)
                _fail([*batch.values(), *self._wanted.values()], ending)
                self._wanted.clear()
                raise
            else:
                for name, waiting in batch.items():
                    waiting.set_result(known.get(name))

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


def _fail(waiting: Sequence["asyncio.Future[KnownKey | None]"], error: Exception) -> None:
    for one in waiting:
        one.set_exception(error)
        # Whoever waited may have gone; the error is no less read then.
        one.exception()
