"""Probing every connected provider at intervals: findings open problems, and what is no longer found is closed."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog
from sqlalchemy import func, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.masking import contains_address
from core.ports import Finding, Probe, Severity
from core.problems.store import NewProblem, close_missing, open_problem, open_problems
from core.problems.tables import OPERATOR, ClosedBy, probe_turns

log = structlog.get_logger(__name__)

PERIOD = timedelta(minutes=10)
_JITTER = 0.1
"""The part of the period by which a turn may come earlier or later."""
SOON = timedelta(minutes=1)
"""The pause while a provider does not work, so that its problems close soon after it does again."""
ANOTHER_WORKER = timedelta(minutes=1)
"""A worker that starts probes at once, since its settings may be new, unless another began within this time."""
DEADLINE = 20.0
"""Seconds for one probe."""
PREFIX = "probe:"
"""With it begin the keys of the problems that probes open."""
FAILED, NO_ANSWER = "PROBE_FAILED", "PROBE_NO_ANSWER"


class ProbeBroken(Exception):
    """The probe said nothing about the provider; `code` and the text say why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(slots=True)
class ProviderProbe:
    """The probe of one integration, run by one worker at a time, and the problems it opens and closes."""

    integration: str
    probe: Probe
    database: Database
    deadline: float = DEADLINE
    _has_begun: bool = field(default=False, init=False)

    async def run_if_due(self) -> bool:
        """Probe if it is due and no other worker does; returns whether it was probed."""
        async with self.database.transaction(OPERATOR) as connection:
            is_ours = await _claim_turn(connection, self.integration, is_first=not self._has_begun)
        self._has_begun = True
        if not is_ours:
            return False
        try:
            findings = await self._run()
        except ProbeBroken as broken:
            await self._record_failure(broken)
        else:
            await self._record(findings)
        return True

    async def _run(self) -> Sequence[Finding]:
        try:
            async with asyncio.timeout(self.deadline):
                return await self.probe.check()
        except TimeoutError:
            raise ProbeBroken(NO_ANSWER, f"There was no answer within {self.deadline:g} s.") from None
        except Exception as error:
            log.exception("probe_failed", integration=self.integration)
            raise ProbeBroken(FAILED, f"The probe ended with {type(error).__name__}.") from error

    async def _record(self, findings: Sequence[Finding]) -> None:
        found = [self._problem(one) for one in findings if one.severity is not Severity.INFO]
        async with self.database.transaction(OPERATOR) as connection:
            await open_problems(connection, found)
            closed = await close_missing(connection, self._key(""), [one.key for one in found], ClosedBy.PROBE)
            if any(one.severity is Severity.CRITICAL for one in found):
                await _come_again_soon(connection, self.integration)
        if found or closed:
            codes = sorted({one.code for one in found})
            log.info("provider_probed", integration=self.integration, found=codes, closed=closed)

    async def _record_failure(self, broken: ProbeBroken) -> None:
        """What was found before stays open: nothing is known about it."""
        problem = NewProblem(
            self._key(broken.code),
            broken.code,
            Severity.CRITICAL if broken.code == NO_ANSWER else Severity.WARNING,
            "The provider could not be probed.",
            str(broken),
            "Look at the provider's status page, and run `interalpha check --probe`.",
            integration=self.integration,
        )
        async with self.database.transaction(OPERATOR) as connection:
            await open_problem(connection, problem)
            await _come_again_soon(connection, self.integration)

    def _problem(self, finding: Finding) -> NewProblem:
        # A provider's words may name a person or a mailbox.
        is_clean = not contains_address(finding.detail)
        detail = finding.detail if is_clean else "Run `interalpha check --probe` to see the provider's answer."
        return NewProblem(
            self._key(finding.code),
            finding.code,
            finding.severity,
            detail,
            detail,
            finding.fix,
            integration=self.integration,
        )

    def _key(self, code: str) -> str:
        return f"{PREFIX}{self.integration}:{code}"


async def _claim_turn(connection: AsyncConnection, integration: str, *, is_first: bool) -> bool:
    """Claim the turn that is due by setting the next due time; `is_first` is for a worker that has just started."""
    pause = PERIOD * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # spreads load; no secret depends on it
    row = insert(probe_turns).values(integration=integration, began_at=func.now(), due_at=func.now() + pause)
    is_due = probe_turns.c.due_at <= func.now()
    if is_first:
        is_due = or_(is_due, probe_turns.c.began_at <= func.now() - ANOTHER_WORKER)
    taken = await connection.execute(
        row.on_conflict_do_update(
            index_elements=["integration"],
            set_={"began_at": row.excluded.began_at, "due_at": row.excluded.due_at},
            where=is_due,
        ).returning(probe_turns.c.integration)
    )
    return taken.first() is not None


async def _come_again_soon(connection: AsyncConnection, integration: str) -> None:
    sooner = func.least(probe_turns.c.due_at, func.now() + SOON)
    await connection.execute(update(probe_turns).where(probe_turns.c.integration == integration).values(due_at=sooner))
