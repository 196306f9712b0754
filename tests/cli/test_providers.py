"""`interalpha providers`: the providers, the state of their circuits, and resetting one."""

import asyncio
import json

from redis.asyncio import Redis

from api.cli.environment import dev_environment
from core.providers.circuit import CallOutcomes
from core.providers.rate_limiter import SharedRateLimiter
from tests.cli.processes import Run


def open_circuit(integration: str) -> None:
    """Let ten calls fail, as a worker would tell it."""

    async def fail() -> None:
        async with Redis.from_url(dev_environment()["REDIS_URL"]) as redis:
            gate = SharedRateLimiter(redis, integration, None)
            await gate.report(CallOutcomes((await gate.allow(10)).ticket, failures=10))

    asyncio.run(fail())


def test_every_provider_has_its_line(run: Run) -> None:
    shown = run("providers", "list")
    assert shown.exit_code == 0, shown.stderr
    assert [line.split()[:5] for line in shown.stdout.splitlines()] == [
        ["✓", name, "simulated", "circuit", "closed"] for name in ("clerk", "smtp", "twilio", "whatsapp")
    ]


def test_an_open_circuit_is_shown_and_can_be_reset(run: Run) -> None:
    open_circuit("smtp")
    [line] = [one for one in run("providers", "list").stdout.splitlines() if " smtp " in one]
    assert line.startswith("✗")
    assert "circuit open, 10 failures in a row, next trial at" in line
    [listed] = [one for one in json.loads(run("providers", "list", "--json").stdout) if one["kind"] == "SMTP"]
    assert listed["circuit"]["state"] == "OPEN"
    reset = run("providers", "reset-circuit", "smtp")
    assert reset.exit_code == 0, reset.stderr
    assert reset.stdout.split() == ["✓", "smtp", "simulated", "circuit", "closed"]


def test_a_reset_can_be_read_by_a_machine(run: Run) -> None:
    open_circuit("twilio")
    reset = run("providers", "reset-circuit", "Twilio", "--json")
    assert json.loads(reset.stdout)["circuit"] == {
        "state": "CLOSED",
        "consecutiveFailures": 0,
        "openedAt": None,
        "retryAt": None,
    }


def test_a_provider_there_is_not_is_named_with_those_there_are(run: Run) -> None:
    refused = run("providers", "reset-circuit", "pigeon")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "There is no provider pigeon. There are: clerk, smtp, twilio, whatsapp." in refused.stderr
