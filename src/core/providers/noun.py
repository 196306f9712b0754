"""Providers as a noun: a loop that opens a problem while a provider refuses us and its circuit breaker stops calls."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from core.database import Database
from core.nouns import Loop, Noun, WorkerContext, WorkerPlan
from core.ports import Severity
from core.problems.store import NewProblem, close_missing, open_problems
from core.problems.tables import OPERATOR, ClosedBy
from core.providers.circuit import Circuits, CircuitState, CircuitView

_TICK = 5.0
_AGAIN = 60.0
"""Seconds after which problems are compared with circuits although no circuit changed: two workers may have raced."""
_PREFIX = "circuit:"


@dataclass(slots=True)
class CircuitProblems:
    """Keeps the problems of circuits in step with the circuits; every worker may do it."""

    circuits: Circuits
    database: Database
    integrations: Collection[str]
    _recorded: Mapping[str, str] | None = field(default=None, init=False)
    _recorded_at: float = field(default=0.0, init=False)

    async def turn(self) -> None:
        """Compare, then rest a while."""
        await self.compare()
        await asyncio.sleep(_TICK)

    async def compare(self) -> None:
        """If something changed: open a problem for each circuit that is open because we are refused; close others."""
        found = await self.circuits.read_stored(self.integrations)
        if found is None:
            return
        refused = {name: _occurrence(view) for name, view in found.items() if _is_refused(view)}
        now = time.monotonic()
        if refused == self._recorded and now - self._recorded_at < _AGAIN:
            return
        async with self.database.transaction(OPERATOR) as connection:
            await open_problems(connection, [_problem(name, since) for name, since in refused.items()])
            await close_missing(connection, _PREFIX, [f"{_PREFIX}{name}" for name in refused], ClosedBy.NOUN)
        self._recorded, self._recorded_at = refused, now


def _is_refused(view: CircuitView) -> bool:
    return view.has_refused_us and view.state is not CircuitState.CLOSED


def _occurrence(view: CircuitView) -> str:
    return "" if view.opened_at is None else view.opened_at.isoformat()


def _problem(integration: str, since: str) -> NewProblem:
    return NewProblem(
        f"{_PREFIX}{integration}",
        "PROVIDER_REFUSES_US",
        Severity.CRITICAL,
        "The provider refuses us, not the messages, and calls are stopped.",
        f"{integration} refused several calls in a row.",
        "Run `interalpha check --probe`, fix what it names, then run"
        f" `interalpha providers reset-circuit {integration}`.",
        integration=integration,
        occurrence=since,
    )


def _plan_work(context: WorkerContext) -> WorkerPlan:
    installation = context.installation
    names = sorted(installation.connected)
    watched = CircuitProblems(Circuits(context.redis), installation.database, names)
    return WorkerPlan([Loop("circuits", watched.turn)])


NOUN = Noun("providers", worker=_plan_work)
