"""Problems in GraphQL: conditions that need an operator, in the caller's language."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import strawberry

from core.ports import Severity
from core.ports.identity import Scope
from core.problems import queries
from core.problems.tables import readable_by
from core.words import ProblemText
from resolvers.context import Info
from resolvers.fields import Node, computed, given
from resolvers.global_ids import to_global_id
from resolvers.inputs import names_of
from resolvers.integrations import Integration, IntegrationKind, integration_of
from resolvers.pagination import PageInfo, page_info_of, slice_of, write_cursor
from resolvers.subjects import Subject, subject_of

_CURSOR = "ProblemCursor"
_ENGLISH = "en"


@strawberry.type(
    description="A condition that needs an operator. It opens when it is found, is counted, and closes when it is over."
)
class Problem(Node):
    row: strawberry.Private[queries.Problem]
    code: str = strawberry.field(
        description="The kind of problem: `TWILIO_REFUSES_US`. Codes are stable; new ones may be added."
    )
    severity: Severity
    title: str = strawberry.field(
        description="One sentence in the language of `Accept-Language`: English or Brazilian Portuguese."
    )
    detail: str = strawberry.field(description="What was found exactly, in English. It contains no personal data.")
    advice: str = strawberry.field(description="What to do about it, in the language of `title`.")
    integration: Integration | None = strawberry.field(description="The integration that it concerns.")
    count: int = strawberry.field(description="How many times it was found since it opened.")
    extent: int | None = strawberry.field(description="How many objects it concerns, if that is known.")
    extent_unit: str | None = strawberry.field(description="What `extent` counts: `rows`.")
    first_at: datetime = strawberry.field(description="When it opened.")
    last_at: datetime = strawberry.field(description="When it was last found.")
    closed_at: datetime | None = strawberry.field(description="When it closed. Closed problems are kept for 90 days.")
    is_open: bool

    @computed("The object that it is about.")
    async def subject(self, info: Info) -> Subject | None:
        return await subject_of(info, self.row.subject)


@strawberry.type(description="One problem of a page, and its cursor.")
class ProblemEdge:
    cursor: str
    node: Problem


@strawberry.type(description="One page of problems.")
class ProblemConnection:
    edges: list[ProblemEdge]
    nodes: list[Problem]
    page_info: PageInfo


@strawberry.input(
    description="All given conditions must match. A list matches if one of its values does; an empty list never does."
)
class ProblemFilter:
    is_open: bool | None = strawberry.field(
        default=True, description="True: open problems. False: closed ones. Null: both."
    )
    severities: list[Severity] | None = strawberry.UNSET
    integrations: list[IntegrationKind] | None = strawberry.UNSET
    codes: list[str] | None = strawberry.UNSET


def problem_of(info: Info, row: queries.Problem) -> Problem:
    """A problem as the caller reads it; an integration that this server does not have any more is not shown."""
    name, known = row.integration, info.context.services.integrations
    integration = integration_of(info, name) if name is not None and name in known else None
    return _shown(row, _told(info, row), integration)


def _told(info: Info, row: queries.Problem) -> ProblemText:
    """Title and advice: the catalogue's, except that English advice is as it was given, since it is more exact."""
    interpreter, languages = info.context.services.interpreter, info.context.languages
    found = interpreter.problem(row.code, languages)
    if found is None:
        return ProblemText(row.title, row.advice)
    is_exact = row.advice and interpreter.language(languages) == _ENGLISH
    return ProblemText(found.title, row.advice if is_exact else found.advice)


def _shown(row: queries.Problem, told: ProblemText, integration: Integration | None) -> Problem:
    return Problem(
        id=to_global_id("Problem", row.id.bytes),
        row=row,
        code=row.code,
        severity=row.severity,
        title=told.title,
        detail=row.detail,
        advice=told.advice,
        integration=integration,
        count=row.count,
        extent=row.extent.number if row.extent else None,
        extent_unit=row.extent.unit if row.extent else None,
        first_at=row.first_at,
        last_at=row.last_at,
        closed_at=row.closed_at,
        is_open=row.closed_at is None,
    )


async def problems_by_id(info: Info, tenant: UUID, ids: Sequence[UUID]) -> dict[UUID, Problem]:
    """Problems that a tenant may read; others are left out."""
    owners = readable_by(tenant)
    async with info.context.services.database.transaction(*owners) as connection:
        found = await queries.problems_by_id(connection, owners, ids)
    return {one: problem_of(info, row) for one, row in found.items()}


async def list_problems(
    info: Info,
    first: int | None = strawberry.UNSET,
    after: str | None = strawberry.UNSET,
    last: int | None = strawberry.UNSET,
    before: str | None = strawberry.UNSET,
    filter: ProblemFilter | None = strawberry.UNSET,
) -> ProblemConnection:
    owners = readable_by(info.context.require(Scope.OPERATIONS_READ).tenant_id)
    which, condition = slice_of(first, after, last, before, _CURSOR), _condition(given(filter))
    async with info.context.services.database.transaction(*owners) as connection:
        rows, has_more = await queries.problems_page(connection, owners, which, condition)
    edges = [ProblemEdge(cursor=write_cursor(_CURSOR, row.id), node=problem_of(info, row)) for row in rows]
    page_info = page_info_of(which, [edge.cursor for edge in edges], has_more=has_more)
    return ProblemConnection(edges=edges, nodes=[edge.node for edge in edges], page_info=page_info)


def _condition(filter: ProblemFilter | None) -> queries.ProblemFilter:
    filter = filter or ProblemFilter()
    return queries.ProblemFilter(
        is_open=filter.is_open,
        severities=given(filter.severities),
        integrations=names_of(given(filter.integrations)),
        codes=given(filter.codes),
    )
