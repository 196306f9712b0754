"""A provider that refuses us is a problem as long as its circuit breaker stops calls."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from core.database import Database
from core.pagination import PageRequest
from core.problems.queries import Problem, ProblemFilter, problems_page
from core.problems.tables import OPERATOR, ClosedBy
from core.providers.circuit import CircuitRules, Circuits
from core.providers.noun import CircuitProblems
from tests.databases import SharedStores
from tests.delivery.limiters import PATIENT_RULES, NewLimiter, failed_calls, limiters, refused_calls
from tests.delivery.round_trips import round_trips
from tests.servers import free_port

TIMES = CircuitRules().refusals


@pytest.fixture
def integration() -> str:
    """An integration name that no other test uses."""
    return f"test-{uuid4().hex}"


@pytest.fixture
async def new_limiter(stores: SharedStores, integration: str) -> AsyncIterator[NewLimiter]:
    async with limiters(stores.urls.redis, integration) as make:
        yield make


@pytest.fixture
async def circuits(stores: SharedStores) -> AsyncIterator[Circuits]:
    redis = Redis.from_url(stores.urls.redis)
    yield Circuits(redis)
    await redis.aclose()


async def problems(database: Database) -> list[Problem]:
    async with database.transaction(OPERATOR) as connection:
        found, _ = await problems_page(connection, [OPERATOR], PageRequest(10), ProblemFilter(is_open=None))
    return list(found)


async def test_a_refusal_of_us_is_a_problem_until_the_circuit_closes(
    worker_database: Database, circuits: Circuits, new_limiter: NewLimiter, integration: str
) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    workers = [CircuitProblems(circuits, worker_database, [integration]) for _ in range(2)]
    await limiter.report(refused_calls(await limiter.allow(TIMES), TIMES))
    for worker in workers:
        await worker.compare()
    [found] = await problems(worker_database)
    assert (found.code, found.integration, found.closed_at) == ("PROVIDER_REFUSES_US", integration, None)
    assert found.count == 1, "two workers saw the same circuit open"
    await circuits.reset(integration, by="test")
    await workers[1].compare()
    [closed] = await problems(worker_database)
    assert (closed.id, closed.closed_by) == (found.id, ClosedBy.NOUN)
    await limiter.report(refused_calls(await limiter.allow(TIMES), TIMES))
    await workers[0].compare()
    again, _ = await problems(worker_database)
    assert (again.id != found.id, again.closed_at) == (True, None)


async def test_a_circuit_that_opens_for_another_reason_is_no_such_problem(
    worker_database: Database, circuits: Circuits, new_limiter: NewLimiter, integration: str
) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    await limiter.report(failed_calls(await limiter.allow(5), 5))
    await CircuitProblems(circuits, worker_database, [integration]).compare()
    assert await problems(worker_database) == []


async def test_nothing_is_written_while_nothing_changes(
    worker_database: Database, circuits: Circuits, integration: str
) -> None:
    watched = CircuitProblems(circuits, worker_database, [integration])
    await watched.compare()
    async with round_trips(worker_database) as seen:
        await watched.compare()
    assert seen == []


async def test_while_redis_is_away_a_problem_stays_open(
    worker_database: Database, circuits: Circuits, new_limiter: NewLimiter, integration: str
) -> None:
    limiter = new_limiter(rules=PATIENT_RULES)
    await limiter.report(refused_calls(await limiter.allow(TIMES), TIMES))
    await CircuitProblems(circuits, worker_database, [integration]).compare()
    away = Redis.from_url(f"redis://127.0.0.1:{free_port()}", retry=Retry(NoBackoff(), 0))
    await CircuitProblems(Circuits(away), worker_database, [integration]).compare()
    await away.aclose()
    assert [one.closed_at for one in await problems(worker_database)] == [None]
