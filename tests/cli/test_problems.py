"""`interalpha problems`: what an operator sees in a terminal while a provider refuses us, and after it is mended."""

import asyncio
import json
from typing import Any

from redis.asyncio import Redis

from api.cli.environment import dev_environment
from core.providers.circuit import CallOutcomes
from core.providers.rate_limiter import SharedRateLimiter
from tests.cli.processes import Run, wait_until


def refuse(integration: str) -> None:
    """Let three calls be refused because of who we are, as a worker would report it."""

    async def report() -> None:
        async with Redis.from_url(dev_environment()["REDIS_URL"]) as redis:
            limiter = SharedRateLimiter(redis, integration, None)
            await limiter.report(CallOutcomes((await limiter.allow(3)).ticket, refusals=3))

    asyncio.run(report())


def listed(run: Run, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("problems", "list", "--json", *options).stdout)
    return [one for one in found if one["code"] == "PROVIDER_REFUSES_US"]


def test_a_provider_that_refuses_us_is_listed_until_its_circuit_is_reset(run: Run) -> None:
    refuse("smtp")
    wait_until(lambda: len(listed(run)) == 1)
    [problem] = listed(run, "--severity", "critical")
    assert (problem["integration"], problem["isOpen"], problem["count"]) == ({"kind": "SMTP"}, True, 1)
    assert listed(run, "--severity", "warning") == []
    lines = run("problems", "list").stdout.splitlines()
    [place] = [number for number, line in enumerate(lines) if "PROVIDER_REFUSES_US" in line]
    assert lines[place].startswith("✗ PROVIDER_REFUSES_US")
    assert " smtp " in lines[place]
    assert "The provider refuses us" in lines[place + 1]
    assert "interalpha providers reset-circuit smtp" in lines[place + 2]
    assert run("providers", "reset-circuit", "smtp").exit_code == 0
    wait_until(lambda: listed(run) == [])
    [closed] = listed(run, "--closed")
    assert (closed["id"], closed["isOpen"], closed["closedAt"] is not None) == (problem["id"], False, True)
    assert ", closed " in run("problems", "list", "--closed").stdout


def test_an_empty_list_says_so(run: Run) -> None:
    shown = run("problems", "list", "--severity", "info")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (0, "", "No open problems.\n")
