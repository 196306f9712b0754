"""Problems as a noun: a loop that probes each connected provider, and a job that tidies up."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

from core.nouns import CronJob, Installation, Loop, Noun, WorkerContext, WorkerPlan
from core.problems.probes import PREFIX, ProviderProbe
from core.problems.store import close_unconnected, delete_old_problems
from core.problems.tables import ClosedBy

_TICK = 20.0


def _plan_work(context: WorkerContext) -> WorkerPlan:
    """One loop for each provider that has a probe."""
    installation = context.installation
    probes = [
        ProviderProbe(name, connected.probe, installation.database)
        for name, connected in installation.connected.items()
        if connected.probe is not None
    ]
    return WorkerPlan(
        [Loop(f"probe {one.integration}", _turn(one)) for one in probes],
        [CronJob("tidy_problems", "7 * * * *", partial(_tidy, installation))],
    )


def _turn(probe: ProviderProbe) -> Callable[[], Awaitable[None]]:
    async def turn() -> None:
        """Probe if it is due, then rest a while."""
        await probe.run_if_due()
        await asyncio.sleep(_TICK * random.uniform(0.8, 1.2))  # noqa: S311  # spreads load; no secret depends on it

    return turn


async def _tidy(installation: Installation) -> None:
    """Delete old problems, and close what was found about providers that are no longer connected."""
    async with installation.database.transaction() as connection:
        await delete_old_problems(connection)
        await close_unconnected(connection, PREFIX, list(installation.connected), ClosedBy.PROBE)


NOUN = Noun("problems", worker=_plan_work)
