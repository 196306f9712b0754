"""Reading a noun's table of events as changes: what was committed behind a cursor, in one order for all processes.

Such a table has the columns `tenant_id`, `transaction_id` (`TransactionId`, by default pg_current_xact_id()),
`sequence` (an identity), `at`, and the id of the object; and an index on (tenant_id, transaction_id, sequence).
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, String, Table, cast, func, or_, select, text, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import UserDefinedType

from core.errors import CursorExpired
from core.live.change_feed import CHANGES_PER_PAGE, ChangePage, FeedChange, current_cursor
from core.live.cursors import Cursor, Snapshot
from core.words import say

CHANGES_KEPT = timedelta(hours=1)
"""How far back missed changes can be read."""
_CURSOR_KEPT = timedelta(days=7)

Change = TypeVar("Change", bound=FeedChange)
MakeChanges = Callable[[AsyncConnection, UUID, Sequence[Row[Any]], Sequence[Cursor], bool], Awaitable[Sequence[Change]]]
"""Makes the changes of rows, each with its cursor; the flag says that they are the opening of a subscription."""


class TransactionId(UserDefinedType[int]):
    """PostgreSQL's xid8: with a sequence it makes a cursor that overlapping commits cannot outrun."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


_ALL = true()


@dataclass(frozen=True, slots=True)
class EventLog(Generic[Change]):
    """The `ChangeReader` of a table of events; `object_id` is the name of the object's column.

    Rows that do not meet `is_change` are not changes to subscribers.
    """

    table: Table
    object_id: str
    make: MakeChanges[Change]
    is_change: ColumnElement[bool] = _ALL

    async def read_since(
        self, connection: AsyncConnection, tenant: UUID, cursor: Cursor, ids: Collection[UUID] | None
    ) -> ChangePage[Change]:
        """Read the next page of changes behind a cursor, of these objects or of all."""
        now = await current_cursor(connection) if cursor.ahead is None else Cursor(cursor.at, cursor.ahead)
        rows = (await connection.execute(self._since(tenant, cursor, now, ids))).all()
        cursors = [Cursor(now.at, cursor.seen, now.seen, row.sequence) for row in rows]
        is_all = len(rows) < CHANGES_PER_PAGE
        changes = await self.make(connection, tenant, rows, cursors, False) if rows else []
        return ChangePage(changes, now if is_all else cursors[-1], is_all)

    def _since(self, tenant: UUID, cursor: Cursor, now: Cursor, ids: Collection[UUID] | None) -> Any:
        events = self.table.c
        statement = (
            select(self.table)
            .where(
                events.tenant_id == tenant,
                self._is_not_visible(cursor.seen),
                self._is_visible(now.seen),
                events.sequence > cursor.sequence,
                self.is_change,
            )
            .order_by(events.sequence)
            .limit(CHANGES_PER_PAGE)
        )
        return statement if ids is None else statement.where(events[self.object_id].in_(ids))

    async def read_current(
        self, connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]
    ) -> tuple[Sequence[Change], Cursor]:
        """Read the latest change of each object, and the cursor behind them."""
        cursor, events = await current_cursor(connection), self.table.c
        about = events[self.object_id]
        latest = (
            select(self.table)
            .ext(distinct_on(about))
            .where(events.tenant_id == tenant, about.in_(ids), self._is_visible(cursor.seen))
            .order_by(about, events.sequence.desc())
        )
        rows = (await connection.execute(latest)).all()
        # A subscriber that leaves before the last of them has to begin again.
        unfinished = Cursor(cursor.at, cursor.seen, is_opening=True)
        cursors = [*[unfinished] * (len(rows) - 1), cursor]
        return await self.make(connection, tenant, rows, cursors, True) if rows else [], cursor

    async def check(self, connection: AsyncConnection, tenant: UUID, cursor: Cursor) -> None:
        """Raise CursorExpired unless everything behind a cursor can still be read."""
        now, events = await current_cursor(connection), self.table.c
        age = now.at - cursor.at
        # A cursor ahead of this database is another one's, from before a backup was restored.
        is_lost = cursor.newest.xmax > now.seen.xmax or age > _CURSOR_KEPT.total_seconds()
        if not is_lost and age > CHANGES_KEPT.total_seconds():
            # If nothing has happened since, nothing is missed, however old the cursor is.
            missed = select(events.sequence).where(
                events.tenant_id == tenant, self._is_not_visible(cursor.seen), events.at < func.now() - CHANGES_KEPT
            )
            if cursor.ahead is not None:
                missed = missed.where(~(self._is_visible(cursor.ahead) & (events.sequence <= cursor.sequence)))
            is_lost = (await connection.execute(missed.limit(1))).first() is not None
        if is_lost:
            raise CursorExpired(
                say(
                    "CURSOR_EXPIRED",
                    "Too many changes happened since this cursor. Fetch your data again, then subscribe without a"
                    " cursor.",
                )
            )

    def _is_not_visible(self, snapshot: Snapshot) -> ColumnElement[bool]:
        # In a form for which the index is used: a transaction that runs for hours costs no more than its own events.
        transaction = self.table.c.transaction_id
        since = cast(cast(str(snapshot.xmax), String), TransactionId)
        if not snapshot.running:
            return transaction >= since
        running = cast(cast([str(one) for one in sorted(snapshot.running)], ARRAY(String)), ARRAY(TransactionId))
        return or_(transaction >= since, transaction == func.any(running))

    def _is_visible(self, snapshot: Snapshot) -> ColumnElement[bool]:
        encoded = text("CAST(CAST(:snapshot AS text) AS pg_snapshot)").bindparams(snapshot=snapshot.to_postgres())
        return func.pg_visible_in_snapshot(self.table.c.transaction_id, encoded)
