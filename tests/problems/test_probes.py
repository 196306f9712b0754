"""Probing providers in a worker: findings open problems, which are counted, and closed when they are gone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from api.bootstrap import App
from api.process import run_forever
from api.worker.loops import build_worker
from api.worker.process import all_jobs
from core.database import Database
from core.nouns import Loop
from core.pagination import PageRequest
from core.ports import Finding, Severity
from core.problems.probes import ProviderProbe
from core.problems.queries import Problem, ProblemFilter, problems_page
from core.problems.store import NewProblem, open_problem
from core.problems.tables import OPERATOR, ClosedBy
from tests.apps import build_application
from tests.databases import Urls
from tests.helpers import wait_until
from tests.servers import ACCOUNT, TOKEN, Simulators

BAD = Finding("BAD", Severity.CRITICAL, "It does not work.", "Mend it.")
DUBIOUS = Finding("DUBIOUS", Severity.WARNING, "It soon ends.", "Renew it.")


@dataclass
class ScriptedProbe:
    """Answers with `found`; raises or waits where the test says so."""

    found: Sequence[Finding] = ()
    error: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    calls: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def check(self) -> Sequence[Finding]:
        self.calls += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return self.found


@dataclass
class Probing:
    """A probe as one worker runs it, and what comes of it."""

    database: Database
    probe: ScriptedProbe = field(default_factory=ScriptedProbe)

    def worker(self, **changes: float) -> ProviderProbe:
        """Another worker's."""
        return ProviderProbe("twilio", self.probe, self.database, **changes)

    async def due(self, **changes: float) -> None:
        """Probe as if it were time again."""
        await self.tamper("UPDATE probe_turns SET due_at = now()")
        assert await self.worker(**changes).run_if_due()

    async def tamper(self, statement: str) -> None:
        async with self.database.transaction() as connection:
            await connection.execute(text(statement))

    async def problems(self, *, is_open: bool | None = True) -> list[Problem]:
        async with self.database.transaction(OPERATOR) as connection:
            condition = ProblemFilter(is_open=is_open)
            found, _ = await problems_page(connection, [OPERATOR], PageRequest(100), condition)
        return sorted(found, key=lambda one: one.code)

    async def codes(self) -> list[str]:
        return [one.code for one in await self.problems()]

    async def minutes_to_next(self) -> float:
        async with self.database.transaction() as connection:
            left = text("SELECT extract(epoch FROM due_at - now())::float / 60 FROM probe_turns")
            minutes: float = (await connection.execute(left)).scalar_one()
            return minutes


@pytest.fixture
def probing(worker_database: Database) -> Probing:
    return Probing(worker_database)


async def test_what_is_found_is_counted_and_what_is_gone_is_closed(probing: Probing) -> None:
    probing.probe.found = [BAD, DUBIOUS, Finding("FINE", Severity.INFO, "It works.", "")]
    await probing.due()
    await probing.due()
    bad, dubious = await probing.problems()
    assert (bad.key, bad.integration, bad.severity, bad.count) == ("probe:twilio:BAD", "twilio", Severity.CRITICAL, 2)
    assert (bad.detail, bad.advice, dubious.count) == ("It does not work.", "Mend it.", 2)
    probing.probe.found = [DUBIOUS]
    await probing.due()
    assert await probing.codes() == ["DUBIOUS"]
    closed, _ = await probing.problems(is_open=None)
    assert (closed.id, closed.closed_by) == (bad.id, ClosedBy.PROBE)


async def test_a_probe_comes_every_ten_minutes_and_soon_while_something_is_broken(probing: Probing) -> None:
    for found, least, most in (([], 8.9, 11), ([DUBIOUS], 8.9, 11), ([BAD], 0.9, 1)):
        probing.probe.found = found
        await probing.due()
        assert least < await probing.minutes_to_next() <= most, found


async def test_one_worker_probes_at_a_time_and_one_that_starts_does_at_once(probing: Probing) -> None:
    workers = [probing.worker() for _ in range(5)]
    taken = await asyncio.gather(*(one.run_if_due() for one in workers))
    assert (sum(taken), probing.probe.calls) == (1, 1)
    assert not any([await one.run_if_due() for one in workers])
    await probing.tamper("UPDATE probe_turns SET began_at = began_at - interval '2 minutes'")
    assert not any([await one.run_if_due() for one in workers])
    assert await probing.worker().run_if_due(), "its settings may be new"
    assert not await probing.worker().run_if_due()


async def test_a_probe_that_raises_or_hangs_is_a_problem_and_closes_none(probing: Probing) -> None:
    probing.probe.found = [BAD]
    await probing.due()
    probing.probe.error = KeyError("secret")
    await probing.due()
    bad, failed = await probing.problems()
    assert (bad.count, failed.code, failed.severity) == (1, "PROBE_FAILED", Severity.WARNING)
    assert failed.detail == "The probe ended with KeyError."
    probing.probe.gate.clear()
    await probing.due(deadline=0.05)
    assert await probing.codes() == ["BAD", "PROBE_FAILED", "PROBE_NO_ANSWER"]
    probing.probe.error, probing.probe.found = None, []
    probing.probe.gate.set()
    await probing.due()
    assert await probing.codes() == []


async def test_no_transaction_is_open_while_a_provider_is_asked(probing: Probing) -> None:
    probing.probe.gate.clear()
    turn = asyncio.create_task(probing.worker().run_if_due())
    await wait_until(lambda: probing.probe.calls == 1)
    assert probing.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    probing.probe.gate.set()
    assert await turn


async def test_an_address_in_the_words_of_a_provider_is_not_stored(probing: Probing) -> None:
    for words in ("535 ana@example.com may not sign in", "The number +55 11 98765-4321 is blocked."):
        probing.probe.found = [Finding("BAD", Severity.CRITICAL, words, "Mend it.")]
        await probing.due()
        [found] = await probing.problems()
        assert found.detail == found.title == "Run `interalpha check --probe` to see the provider's answer."


@asynccontextmanager
async def worker_application(urls: Urls, simulators: Simulators, **changes: str) -> AsyncIterator[App]:
    """The application as a worker has it, with Twilio's simulator."""
    twilio = {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_BASE": f"{simulators.announced['http']}/twilio",
        "SMTP_HOST": "",
        "SMTP_PORT": "",
        "SMTP_TLS": "",
        "SMTP_FROM": "",
    }
    application = build_application(urls, DATABASE_URL=urls.worker, **(twilio | changes))
    try:
        yield application
    finally:
        await application.close()


def loop_of(application: App) -> Loop:
    [loop] = [one for one in build_worker(application).loops if one.name == "probe twilio"]
    return loop


async def test_a_worker_notices_a_refused_credential_and_its_repair(
    urls: Urls, simulators: Simulators, probing: Probing
) -> None:
    async def probed(application: App, wanted: dict[str, int]) -> None:
        """Let the loop take a turn, which ends with a rest, until these problems are open, each counted so often."""
        await probing.tamper("UPDATE probe_turns SET due_at = now()")
        turn = asyncio.create_task(run_forever("probe twilio", loop_of(application).turn))
        try:
            async with asyncio.timeout(20):
                while {one.code: one.count for one in await probing.problems()} != wanted:
                    await asyncio.sleep(0.05)
        finally:
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)

    async with worker_application(urls, simulators) as application:
        await simulators.control.arm("twilio", "code", always=True, code="20003", status=401, at="account")
        await probed(application, {"TWILIO_REFUSES_US": 1})
        await probed(application, {"TWILIO_REFUSES_US": 2})
        [found] = await probing.problems()
        assert (found.severity, "TWILIO_AUTH_TOKEN" in found.advice) == (Severity.CRITICAL, True)
        await simulators.control.disarm("twilio")
        await probed(application, {})


async def test_the_hourly_job_closes_what_was_found_about_a_provider_that_is_gone(
    urls: Urls, simulators: Simulators, probing: Probing
) -> None:
    for name in ("twilio", "smtp"):
        async with probing.database.transaction(OPERATOR) as connection:
            problem = NewProblem(f"probe:{name}:BAD", "BAD", Severity.CRITICAL, "Bad.", "", "", integration=name)
            await open_problem(connection, problem)
    async with worker_application(urls, simulators) as application:
        [job] = [one for one in all_jobs(build_worker(application)) if one.name == "tidy_problems"]
        await job.run()
    assert [one.integration for one in await probing.problems()] == ["twilio"]
