"""Reading problems by id and page by page, of the owners that the caller may read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.nouns import SubjectKey
from core.pagination import PageRequest, read_page, storable
from core.ports import Severity
from core.problems.store import Extent
from core.problems.tables import ClosedBy, problems


@dataclass(frozen=True, slots=True)
class Problem:
    """A condition that needs an operator, or needed one; the texts are English."""

    id: UUID
    key: str
    code: str
    severity: Severity
    integration: str | None
    subject: SubjectKey | None
    title: str
    detail: str
    advice: str
    count: int
    extent: Extent | None
    first_at: datetime
    last_at: datetime
    closed_at: datetime | None
    closed_by: ClosedBy | None


@dataclass(frozen=True, slots=True)
class ProblemFilter:
    """All given conditions must hold; a list holds when any of its values does, an empty one never."""

    is_open: bool | None = True
    severities: Sequence[Severity] | None = None
    integrations: Sequence[str] | None = None
    codes: Sequence[str] | None = None


async def problems_by_id(
    connection: AsyncConnection, owners: Collection[UUID], ids: Collection[UUID]
) -> dict[UUID, Problem]:
    """Read problems of these owners by id; those they do not have are left out."""
    if not ids:
        return {}
    chosen = select(problems).where(_of(owners), problems.c.id.in_(list(ids)))
    return {row.id: _problem(row) for row in await connection.execute(chosen)}


async def problems_page(
    connection: AsyncConnection, owners: Collection[UUID], which: PageRequest, condition: ProblemFilter
) -> tuple[Sequence[Problem], bool]:
    """Read one page of the problems of these owners, the newest first, and whether there are more."""
    statement = select(problems).where(_of(owners), *_conditions(condition))
    rows, has_more = await read_page(connection, statement, problems.c.id, which)
    return [_problem(row) for row in rows], has_more


def _of(owners: Collection[UUID]) -> ColumnElement[bool]:
    return or_(*(problems.c.tenant_id == owner for owner in owners))


def _conditions(condition: ProblemFilter) -> list[ColumnElement[bool]]:
    closed_at = problems.c.closed_at
    found: list[ColumnElement[bool]] = []
    if condition.is_open is not None:
        found.append(closed_at.is_(None) if condition.is_open else closed_at.is_not(None))
    if condition.severities is not None:
        found.append(problems.c.severity.in_([one.value for one in condition.severities]))
    if condition.integrations is not None:
        found.append(problems.c.integration.in_(condition.integrations))
    if condition.codes is not None:
        found.append(problems.c.code.in_(storable(condition.codes)))
    return found


def _problem(row: Row[Any]) -> Problem:
    return Problem(
        id=row.id,
        key=row.key,
        code=row.code,
        severity=Severity(row.severity),
        integration=row.integration,
        subject=None if row.subject_id is None else SubjectKey(row.subject_kind, row.subject_id),
        title=row.title,
        detail=row.detail,
        advice=row.advice,
        # A row is a tuple, and has a method of this name.
        count=row._mapping["count"],
        extent=None if row.extent is None else Extent(row.extent, row.extent_unit),
        first_at=row.first_at,
        last_at=row.last_at,
        closed_at=row.closed_at,
        closed_by=ClosedBy(row.closed_by) if row.closed_by else None,
    )
