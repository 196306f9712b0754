"""Problems in the database: counted under their keys, closed, opened anew, and hidden from other tenants."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core.database import Database
from core.pagination import PageRequest
from core.ports import Severity
from core.ports.identity import DEFAULT_TENANT
from core.problems.queries import Problem, ProblemFilter, problems_by_id, problems_page
from core.problems.store import (
    RETENTION,
    Extent,
    NewProblem,
    close_missing,
    close_problem,
    close_problems,
    close_unconnected,
    delete_old_problems,
    open_problem,
    open_problems,
)
from core.problems.tables import OPERATOR, ClosedBy, readable_by
from tests.delivery.round_trips import round_trips

EVERY = ProblemFilter(is_open=None)


def problem(key: str = "probe:twilio:REFUSED", **changes: Any) -> NewProblem:
    given = {
        "code": "REFUSED",
        "severity": Severity.WARNING,
        "title": "It refuses us.",
        "detail": "20003",
        "advice": "Fix",
    }
    return NewProblem(key, **(given | changes))


async def opened(database: Database, *found: NewProblem, tenant: UUID = OPERATOR) -> None:
    async with database.transaction(tenant) as connection:
        await open_problems(connection, found)


async def listed(database: Database, *owners: UUID, condition: ProblemFilter = EVERY) -> list[Problem]:
    owners = owners or (OPERATOR,)
    async with database.transaction(*owners) as connection:
        found, _ = await problems_page(connection, owners, PageRequest(100), condition)
    return list(found)


async def test_the_same_key_is_one_problem_and_counted(app_database: Database) -> None:
    await opened(app_database, problem(severity=Severity.CRITICAL, extent=Extent(3, "messages")))
    [first] = await listed(app_database)
    await opened(app_database, problem(detail="20004", extent=Extent(5, "messages")))
    await opened(app_database, problem("probe:smtp:REFUSED"), problem(detail="20005", count=4))
    second, again = await listed(app_database)
    assert (second.key, second.count) == ("probe:smtp:REFUSED", 1)
    assert (again.id, again.count, again.detail, again.extent) == (first.id, 6, "20005", None)
    assert again.severity is Severity.CRITICAL, "a severity rises and does not fall"
    assert (again.first_at, again.closed_at) == (first.first_at, None)
    assert again.last_at > first.last_at
    await opened(app_database, problem("probe:smtp:REFUSED", severity=Severity.CRITICAL, count=2**31 - 1))
    [most, _] = await listed(app_database)
    assert (most.severity, most.count) == (Severity.CRITICAL, 2**31 - 1)


async def test_an_occurrence_that_is_reported_again_is_not_counted_again(app_database: Database) -> None:
    counts = []
    for occurrence in ("1", "1", "2", None, None):
        await opened(app_database, problem(occurrence=occurrence))
        counts += [one.count for one in await listed(app_database)]
    assert counts == [1, 1, 2, 3, 4]


async def test_findings_of_one_key_are_put_together(app_database: Database) -> None:
    worse = problem(severity=Severity.CRITICAL, detail="the key", advice="Fix")
    await opened(app_database, problem(detail="the token"), worse, problem(detail="the token"))
    [found] = await listed(app_database)
    assert (found.detail, found.advice, found.severity, found.count) == (
        "the token the key",
        "Fix",
        Severity.CRITICAL,
        1,
    )


async def test_a_problem_that_comes_back_is_a_new_one(app_database: Database) -> None:
    await opened(app_database, problem())
    async with app_database.transaction(OPERATOR) as connection:
        assert await close_problem(connection, problem().key, ClosedBy.NOUN)
        assert not await close_problem(connection, problem().key, ClosedBy.NOUN)
    [closed] = await listed(app_database)
    assert (closed.closed_by, closed.closed_at is not None) == (ClosedBy.NOUN, True)
    await opened(app_database, problem())
    again, before = await listed(app_database)
    assert (before, again.count, again.closed_at) == (closed, 1, None)
    assert [one.id for one in await listed(app_database, condition=ProblemFilter())] == [again.id]
    assert [one.id for one in await listed(app_database, condition=ProblemFilter(is_open=False))] == [before.id]


async def test_what_is_missing_under_a_prefix_is_closed_and_nothing_else(app_database: Database) -> None:
    keys = ["probe:twilio:A", "probe:twilio:B", "probe:twilio_two:A", "probe:twilio", "circuit:twilio:A"]
    await opened(app_database, *(problem(key) for key in keys))
    await opened(app_database, problem("probe:twilio:A", tenant_id=DEFAULT_TENANT), tenant=DEFAULT_TENANT)
    async with app_database.transaction(OPERATOR) as connection:
        assert await close_missing(connection, "probe:twilio:", ["probe:twilio:B"], ClosedBy.PROBE) == 1
    left = {one.key for one in await listed(app_database, condition=ProblemFilter())}
    assert left == set(keys) - {"probe:twilio:A"}
    assert len(await listed(app_database, DEFAULT_TENANT, condition=ProblemFilter())) == 1
    async with app_database.transaction(OPERATOR) as connection:
        # A wildcard of LIKE is an ordinary character.
        assert await close_missing(connection, "probe:twilio_", [], ClosedBy.PROBE) == 1
        assert await close_problems(connection, keys, ClosedBy.OPERATOR) == 3


async def test_problems_of_integrations_that_are_not_connected_any_more_are_closed(app_database: Database) -> None:
    for name in ("twilio", "smtp"):
        await opened(
            app_database, problem(f"probe:{name}:A", integration=name), problem(f"circuit:{name}", integration=name)
        )
    async with app_database.transaction(OPERATOR) as connection:
        assert await close_unconnected(connection, "probe:", ["smtp"], ClosedBy.PROBE) == 1
    left = {one.key for one in await listed(app_database, condition=ProblemFilter())}
    assert left == {"probe:smtp:A", "circuit:twilio", "circuit:smtp"}


async def test_each_of_these_is_one_statement(app_database: Database) -> None:
    async with round_trips(app_database) as seen, app_database.transaction(OPERATOR) as connection:
        await open_problems(connection, [problem(str(number)) for number in range(50)])
        await open_problem(connection, problem())
        await close_problem(connection, problem().key, ClosedBy.NOUN)
        await close_missing(connection, "", ["1"], ClosedBy.PROBE)
        # The driver reports BEGIN a moment after it has ended.
        assert len([one for one in seen if not one.startswith("BEGIN")]) == 4


async def test_two_that_open_the_same_at_once_are_both_counted(
    app_database: Database, worker_database: Database
) -> None:
    keys = [f"probe:twilio:{number}" for number in range(20)]
    orders = (keys, keys[::-1])
    for _ in range(5):
        await asyncio.gather(
            *(
                opened(database, *(problem(key) for key in order))
                for database in (app_database, worker_database)
                for order in orders
            )
        )
    assert {one.key: one.count for one in await listed(app_database)} == dict.fromkeys(keys, 20)


async def test_a_text_that_postgresql_cannot_hold_is_stored_without_it(app_database: Database) -> None:
    await opened(app_database, problem(detail="a\x00b\ud800" + "c" * 5_000))
    [found] = await listed(app_database)
    assert found.detail.startswith("a\ufffdb\ufffdcc")
    assert len(found.detail) == 1_000


async def test_a_tenant_neither_reads_nor_changes_the_problems_of_others(
    app_database: Database, worker_database: Database
) -> None:
    ours, theirs = uuid4(), uuid4()
    for owner in (ours, theirs, None):
        await opened(app_database, problem(tenant_id=owner), tenant=owner or OPERATOR)
    [hidden] = await listed(app_database, theirs)
    # The attacker names others in the statement; the transaction is its own.
    async with app_database.transaction(ours) as connection:
        everyone = [ours, theirs, OPERATOR]
        found, _ = await problems_page(connection, everyone, PageRequest(100), EVERY)
        assert len(found) == 1
        assert await problems_by_id(connection, everyone, [hidden.id]) == {}
        for owner in (theirs, None):
            assert not await close_problem(connection, problem().key, ClosedBy.OPERATOR, tenant=owner)
            assert await close_missing(connection, "", [], ClosedBy.PROBE, tenant=owner) == 0
        changed = await connection.execute(
            text("UPDATE problems SET detail = 'x' WHERE tenant_id <> :ours"), {"ours": ours}
        )
        assert changed.rowcount == 0
    for owner in (theirs, None):
        for key in (problem().key, "another"):
            with pytest.raises(DBAPIError, match="row-level security"):
                await opened(app_database, problem(key, tenant_id=owner), tenant=ours)
    for owner in (theirs, OPERATOR):
        [untouched] = await listed(worker_database, owner)
        assert (untouched.count, untouched.closed_at, untouched.detail) == (1, None, "20003")


async def test_only_the_default_tenant_reads_the_problems_of_the_installation(app_database: Database) -> None:
    await opened(app_database, problem())
    assert len(await listed(app_database, *readable_by(DEFAULT_TENANT))) == 1
    assert await listed(app_database, *readable_by(uuid4())) == []


async def test_the_application_keeps_key_and_owner_and_deletes_nothing(app_database: Database) -> None:
    await opened(app_database, problem())
    for statement in (
        "UPDATE problems SET key = 'x'",
        "UPDATE problems SET tenant_id = gen_random_uuid()",
        "UPDATE problems SET first_at = now()",
        "DELETE FROM problems",
        "SELECT * FROM probe_turns",
    ):
        with pytest.raises(Exception, match="lacks a table or a right"):
            async with app_database.transaction(OPERATOR) as connection:
                await connection.execute(text(statement))


async def test_closed_problems_are_deleted_after_their_time(app_database: Database, worker_database: Database) -> None:
    for key, age in (("old", RETENTION + timedelta(days=1)), ("recent", RETENTION - timedelta(days=1)), ("open", None)):
        await opened(app_database, problem(key, tenant_id=DEFAULT_TENANT), tenant=DEFAULT_TENANT)
        if age is not None:
            async with worker_database.transaction() as connection:
                closing = text("UPDATE problems SET closed_at = now() - CAST(:age AS interval) WHERE key = :key")
                await connection.execute(closing, {"age": age, "key": key})
    async with worker_database.transaction() as connection:
        assert await delete_old_problems(connection) == 1
    assert {one.key for one in await listed(app_database, DEFAULT_TENANT)} == {"recent", "open"}


async def test_every_filter_filters(app_database: Database) -> None:
    await opened(
        app_database, problem("a", integration="twilio"), problem("b", code="OTHER", severity=Severity.CRITICAL)
    )
    for condition, keys in (
        (ProblemFilter(), {"a", "b"}),
        (ProblemFilter(severities=[Severity.CRITICAL]), {"b"}),
        (ProblemFilter(severities=[]), set()),
        (ProblemFilter(integrations=["twilio"]), {"a"}),
        (ProblemFilter(codes=["OTHER", "\x00"]), {"b"}),
        (ProblemFilter(is_open=False), set()),
    ):
        assert {one.key for one in await listed(app_database, condition=condition)} == keys, condition
