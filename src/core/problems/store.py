"""Opening, counting, closing and deleting problems, each with one statement in the caller's transaction."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Integer, case, cast, delete, false, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from core.characters import made_storable
from core.ids import uuid7
from core.nouns import SubjectKey
from core.ports import Severity
from core.problems.tables import OPERATOR, ClosedBy, problems

RETENTION = timedelta(days=90)
"""How long closed problems are kept."""
_LONGEST_TEXT = 1_000
_MOST = 2**31 - 1
_RANKS = {severity: rank for rank, severity in enumerate((Severity.INFO, Severity.WARNING, Severity.CRITICAL))}


@dataclass(frozen=True, slots=True)
class Extent:
    """How many objects a problem concerns, and what they are: 12 messages."""

    number: int
    unit: str


@dataclass(frozen=True, slots=True)
class NewProblem:
    """A condition that needs an operator; the texts are English and hold no personal data.

    `key` identifies the condition, `code` finds its title and advice in the catalogues. `tenant_id` is None for a
    problem of the whole installation. A report with the same `occurrence` as the one before is not counted again.
    """

    key: str
    code: str
    severity: Severity
    title: str
    detail: str
    advice: str
    tenant_id: UUID | None = None
    integration: str | None = None
    subject: SubjectKey | None = None
    extent: Extent | None = None
    occurrence: str | None = None
    count: int = 1

    @property
    def owner(self) -> UUID:
        """Whose row it is."""
        return OPERATOR if self.tenant_id is None else self.tenant_id


async def open_problem(connection: AsyncConnection, problem: NewProblem) -> UUID:
    """Open a problem, or count one that is open under its key; returns its id."""
    [id] = await open_problems(connection, [problem])
    return id


async def open_problems(connection: AsyncConnection, found: Iterable[NewProblem]) -> Sequence[UUID]:
    """Open or count problems; those of one key are put together. One that was closed is opened as a new one."""
    rows = [_row(one) for one in _merged(found)]
    if not rows:
        return []
    return list((await connection.execute(_upsert(rows))).scalars())


def _merged(found: Iterable[NewProblem]) -> list[NewProblem]:
    """One problem for each key, in one order, so that two transactions wait for each other instead of deadlocking."""
    groups: dict[tuple[UUID, str], list[NewProblem]] = defaultdict(list)
    for one in found:
        groups[one.owner, one.key].append(one)
    return [_together(groups[place]) for place in sorted(groups)]


def _together(group: Sequence[NewProblem]) -> NewProblem:
    """The worst of a group, with the details and advice of all."""
    worst = max(group, key=lambda one: _RANKS[one.severity])
    details = " ".join(dict.fromkeys(one.detail for one in group))
    return replace(worst, detail=details, advice=" ".join(dict.fromkeys(one.advice for one in group)))


def _row(one: NewProblem) -> dict[str, Any]:
    return {
        "tenant_id": one.owner,
        "id": uuid7(),
        "key": one.key,
        "code": one.code,
        "severity": one.severity.value,
        "integration": one.integration,
        "subject_kind": one.subject.kind if one.subject else None,
        "subject_id": one.subject.id if one.subject else None,
        "title": _text(one.title),
        "detail": _text(one.detail),
        "advice": _text(one.advice),
        "count": one.count,
        "occurrence": one.occurrence,
        "extent": min(one.extent.number, _MOST) if one.extent else None,
        "extent_unit": one.extent.unit if one.extent else None,
    }


def _text(written: str) -> str:
    return made_storable(written)[:_LONGEST_TEXT]


_REPLACED = ("code", "integration", "subject_kind", "subject_id", "title", "detail", "advice", "occurrence")


def _upsert(rows: Sequence[dict[str, Any]]) -> ReturningInsert[Any]:
    """Insert problems; one that is open is counted, told anew, and its severity may rise."""
    statement = insert(problems).values(rows)
    new = statement.excluded
    # Null is no occurrence: such a report always counts.
    is_known = func.coalesce(problems.c.occurrence == new.occurrence, false())
    is_worse = _rank(new.severity) > _rank(problems.c.severity)
    # The sum may be larger than the column allows before it is limited.
    total = cast(problems.c["count"], BigInteger) + new["count"]
    return statement.on_conflict_do_update(
        index_elements=["tenant_id", "key"],
        index_where=problems.c.closed_at.is_(None),
        set_={
            **{name: new[name] for name in _REPLACED},
            "severity": case((is_worse, new.severity), else_=problems.c.severity),
            "count": case((is_known, problems.c["count"]), else_=cast(func.least(total, _MOST), Integer)),
            "extent": new.extent,
            "extent_unit": new.extent_unit,
            "last_at": func.now(),
        },
    ).returning(problems.c.id)


def _rank(severity: ColumnElement[str]) -> ColumnElement[int]:
    return case({one.value: rank for one, rank in _RANKS.items()}, value=severity, else_=0)


async def close_problem(connection: AsyncConnection, key: str, by: ClosedBy, *, tenant: UUID | None = None) -> bool:
    """Close the problem that is open under a key; returns whether there was one."""
    return await close_problems(connection, [key], by, tenant=tenant) > 0


async def close_problems(
    connection: AsyncConnection, keys: Collection[str], by: ClosedBy, *, tenant: UUID | None = None
) -> int:
    """Close the problems that are open under these keys; returns how many there were."""
    return await _close(connection, problems.c.key.in_(keys), by, tenant) if keys else 0


async def close_missing(
    connection: AsyncConnection,
    prefix: str,
    still_open: Collection[str],
    by: ClosedBy,
    *,
    tenant: UUID | None = None,
) -> int:
    """Close the open problems whose keys begin with `prefix`, except those of the keys in `still_open`."""
    is_missing = func.starts_with(problems.c.key, prefix) & problems.c.key.not_in(still_open)
    return await _close(connection, is_missing, by, tenant)


async def close_unconnected(connection: AsyncConnection, prefix: str, connected: Collection[str], by: ClosedBy) -> int:
    """Close the open problems under `prefix` of integrations that are not connected any more."""
    is_gone = func.starts_with(problems.c.key, prefix) & problems.c.integration.not_in(connected)
    return await _close(connection, is_gone, by, None)


async def _close(connection: AsyncConnection, which: ColumnElement[bool], by: ClosedBy, tenant: UUID | None) -> int:
    closed = await connection.execute(
        update(problems)
        .where(problems.c.tenant_id == (tenant or OPERATOR), problems.c.closed_at.is_(None), which)
        .values(closed_at=func.now(), closed_by=by.value)
        .returning(problems.c.id)
    )
    return len(closed.all())


async def delete_old_problems(connection: AsyncConnection) -> int:
    """Delete problems that were closed longer ago than they are kept, of all owners; needs a worker's rights."""
    gone = await connection.execute(
        delete(problems).where(problems.c.closed_at < func.now() - RETENTION).returning(problems.c.id)
    )
    return len(gone.all())
