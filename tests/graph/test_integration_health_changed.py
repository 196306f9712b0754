"""Integration.health and integrationHealthChanged: the present state first, then the changes of a circuit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from api.bootstrap import App
from core.ports.calls import CallEnd
from core.ports.identity import DEFAULT_TENANT, Scope
from core.providers.circuit import CallOutcomes, CircuitRules, limiter_key
from core.providers.ledger import Ledger
from core.providers.rate_limiter import SharedRateLimiter
from tests.graph.callers import Caller, Following, NewCaller, statements
from tests.helpers import until

HEALTH = "{ integrations { kind health { status credentials summary since } } }"
FOLLOW = """
subscription ($kinds: [IntegrationKind!], $after: String) {
  integrationHealthChanged(kinds: $kinds, after: $after) {
    previousStatus at cursor integration { kind health { status credentials } circuit { state } }
  }
}
"""


@pytest.fixture(autouse=True)
async def _no_calls(owner: asyncpg.Pool) -> None:
    await owner.execute("DELETE FROM provider_calls")


@pytest.fixture
async def limiter(application: App) -> AsyncIterator[SharedRateLimiter]:
    """Twilio's rate limiter, as a worker has it; an open circuit tries again at once."""
    yield SharedRateLimiter(application.redis, "twilio", None, rules=CircuitRules(first_pause=0.3, longest_pause=0.3))
    await application.redis.delete(limiter_key("twilio"))


async def opened(limiter: SharedRateLimiter, **how: int) -> None:
    await limiter.report(CallOutcomes((await limiter.allow(10)).ticket, **(how or {"failures": 10})))


async def healths(caller: Caller) -> dict[str, Any]:
    return {one["kind"]: one["health"] for one in (await caller.ask(HEALTH))["integrations"]}


@asynccontextmanager
async def following(caller: Caller, **variables: Any) -> AsyncIterator[Following]:
    stream = caller.follow(FOLLOW, **variables)
    try:
        yield stream
    finally:
        await stream.close()


async def told(stream: Following) -> tuple[str, str | None, str]:
    change = (await stream.next())["integrationHealthChanged"]
    return change["integration"]["kind"], change["previousStatus"], change["integration"]["health"]["status"]


async def test_what_nothing_is_known_of_is_unknown_and_what_is_not_configured_disabled(caller: Caller) -> None:
    found = await healths(caller)
    assert {kind: (one["status"], one["credentials"]) for kind, one in found.items()} == {
        "CLERK": ("DISABLED", "UNTESTED"),
        "SMTP": ("UNKNOWN", "UNTESTED"),
        "TWILIO": ("UNKNOWN", "UNTESTED"),
        "WHATSAPP": ("DISABLED", "UNTESTED"),
    }


async def count_calls(application: App, *calls: tuple[str, str, CallEnd, float]) -> None:
    """What a worker writes about calls."""
    ledger = Ledger()
    for call in calls:
        ledger.record(*call)
    await ledger.flush(application.database)


async def test_what_answered_calls_lately_is_healthy(
    caller: Caller, stranger: Caller, application: App, owner: asyncpg.Pool
) -> None:
    await count_calls(application, ("twilio", "send message", CallEnd.ANSWERED, 0.2))
    for one in (caller, stranger):
        found = (await healths(one))["TWILIO"]
        assert (found["status"], found["credentials"]) == ("HEALTHY", "ACCEPTED")
    await owner.execute("UPDATE provider_calls SET minute = minute - interval '2 hours'")
    assert (await healths(caller))["TWILIO"]["status"] == "UNKNOWN"


async def test_what_fails_half_of_its_calls_is_degraded_and_what_refuses_us_says_so(
    caller: Caller, application: App
) -> None:
    await count_calls(
        application,
        ("twilio", "send message", CallEnd.ANSWERED, 0.2),
        ("twilio", "list messages", CallEnd.FAILED, 5.0),
        ("smtp", "send message", CallEnd.REJECTED, 0.2),
        ("smtp", "probe", CallEnd.REFUSED, 0.2),
    )
    found = await healths(caller)
    assert (found["TWILIO"]["status"], found["TWILIO"]["credentials"]) == ("DEGRADED", "ACCEPTED")
    assert (found["SMTP"]["status"], found["SMTP"]["credentials"]) == ("DEGRADED", "REFUSED")


LATENCY = """
{ integrations(kinds: [TWILIO]) {
    health { lastSuccessAt lastFailureAt }
    latency { requestCount errorRate p50Ms p95Ms } week: latency(window: LAST_WEEK) { requestCount }
} }
"""


async def test_response_times_are_read_for_windows_and_counts_only_by_the_operator(
    application: App, new_caller: NewCaller, owner: asyncpg.Pool
) -> None:
    calls = [("twilio", "send message", CallEnd.ANSWERED, 0.2)] * 9
    await count_calls(application, *calls, ("twilio", "send message", CallEnd.UNKNOWN, 8.0))
    await owner.execute("UPDATE provider_calls SET minute = minute - interval '1 day' WHERE outcome = 'ANSWERED'")
    await count_calls(application, *calls)
    one = await new_caller()
    operator = replace(one, principal=replace(one.principal, tenant_id=DEFAULT_TENANT))
    [shown] = (await operator.ask(LATENCY))["integrations"]
    assert (shown["latency"]["requestCount"], shown["latency"]["errorRate"]) == (10, 0.1)
    assert shown["week"]["requestCount"] == 19
    assert 100 < shown["latency"]["p50Ms"] <= 250
    assert 5_000 < shown["latency"]["p95Ms"] <= 10_000
    assert shown["health"]["lastSuccessAt"] is not None
    # When others were sent to is not for a tenant to know.
    [theirs] = (await (await new_caller()).ask(LATENCY))["integrations"]
    assert theirs["latency"] == shown["latency"] | {"requestCount": None}
    assert theirs["health"] == {"lastSuccessAt": None, "lastFailureAt": None}


async def test_an_open_circuit_is_down_and_a_trial_degraded(caller: Caller, limiter: SharedRateLimiter) -> None:
    await opened(limiter)
    found = (await healths(caller))["TWILIO"]
    assert (found["status"], found["credentials"]) == ("DOWN", "UNTESTED")
    assert found["summary"] == "It keeps failing; nothing is sent for now."

    async def status() -> str:
        return str((await healths(caller))["TWILIO"]["status"])

    await until(status, lambda one: one == "DEGRADED")


async def test_refused_credentials_are_reported_with_advice_to_check_them(
    caller: Caller, limiter: SharedRateLimiter
) -> None:
    await opened(limiter, refusals=3)
    found = (await healths(caller))["TWILIO"]
    assert (found["status"], found["credentials"]) == ("DOWN", "REFUSED")
    assert "credentials" in found["summary"]


async def test_the_present_state_comes_first_and_then_every_change(caller: Caller, limiter: SharedRateLimiter) -> None:
    async with following(caller) as stream:
        assert [await told(stream) for _ in range(4)] == [
            ("CLERK", None, "DISABLED"),
            ("SMTP", None, "UNKNOWN"),
            ("TWILIO", None, "UNKNOWN"),
            ("WHATSAPP", None, "DISABLED"),
        ]
        await opened(limiter)
        assert await told(stream) == ("TWILIO", "UNKNOWN", "DOWN")
        # No event reports it: its time is over.
        assert await told(stream) == ("TWILIO", "DOWN", "DEGRADED")
        await caller.application.services.circuits.reset("twilio", by="test")
        assert await told(stream) == ("TWILIO", "DEGRADED", "UNKNOWN")


async def test_a_reconnect_receives_only_what_is_different(caller: Caller, limiter: SharedRateLimiter) -> None:
    async with following(caller, kinds=["SMTP", "TWILIO"]) as stream:
        await stream.next()
        cursor = (await stream.next())["integrationHealthChanged"]["cursor"]
    await opened(limiter, refusals=3)
    async with following(caller, kinds=["SMTP", "TWILIO"], after=cursor) as stream:
        assert await told(stream) == ("TWILIO", "UNKNOWN", "DOWN")


@pytest.mark.parametrize("cursor", ["", "nonsense", "SGVhbHRoQ3Vyc29yOnR3aWxpbz1GSU5F"])
async def test_a_cursor_of_another_caller_is_refused(caller: Caller, cursor: str) -> None:
    async with following(caller, after=cursor) as stream:
        [error] = (await stream.answer()).errors
    assert (error["extensions"]["code"], error["extensions"]["argument"]) == ("INVALID_INPUT", "after")


async def test_it_needs_its_scope(new_caller: NewCaller, anonymous: Caller) -> None:
    reader = await new_caller(frozenset({Scope.MESSAGES_READ}))
    for caller, code in ((reader, "FORBIDDEN"), (anonymous, "UNAUTHENTICATED")):
        async with following(caller) as stream:
            [error] = (await stream.answer()).errors
            assert error["extensions"]["code"] == code


async def test_many_who_watch_are_one_reading_and_leave_nothing(
    caller: Caller, limiter: SharedRateLimiter, application: App
) -> None:
    selection = FOLLOW.replace("health { status credentials } circuit { state }", "name")
    streams = [caller.follow(selection, kinds=["TWILIO"]) for _ in range(20)]
    for stream in streams:
        await stream.next()
    with statements(application) as seen:
        await opened(limiter)
        for stream in streams:
            assert (await stream.next())["integrationHealthChanged"]["previousStatus"] == "UNKNOWN"
    # It may have been tried again already, which is one reading more.
    assert len([one for one in seen if "attempts" in one]) <= 2
    for stream in streams:
        await stream.close()
    assert len(application.services.health.shared_values) == 0
    assert application.hub._watchers == set()
