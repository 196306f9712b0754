"""Integration.circuit and resetCircuit: visible with OPERATIONS_READ, closed with OPERATIONS_WRITE."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio.client import Pipeline

from api.bootstrap import App
from core.ports.identity import Scope
from core.providers.circuit import CallOutcomes, limiter_key
from core.providers.rate_limiter import SharedRateLimiter
from tests.apps import build_application
from tests.databases import Urls
from tests.graph.callers import Caller, NewCaller
from tests.servers import free_port

CIRCUITS = "{ integrations { kind circuit { state consecutiveFailures openedAt retryAt } } }"
RESET = """
mutation ($kind: IntegrationKind!) {
  resetCircuit(input: {kind: $kind}) {
    integration { kind circuit { state consecutiveFailures } }
    errors { __typename ... on UserError { message path } ... on IntegrationUnavailableError { integration { kind } } }
  }
}
"""
CALM = {"state": "CLOSED", "consecutiveFailures": 0, "openedAt": None, "retryAt": None}


@pytest.fixture
async def limiter(application: App) -> AsyncIterator[SharedRateLimiter]:
    """Twilio's rate limiter, as a worker has it."""
    yield SharedRateLimiter(application.redis, "twilio", None)
    await application.redis.delete(limiter_key("twilio"))


async def opened(limiter: SharedRateLimiter) -> None:
    await limiter.report(CallOutcomes((await limiter.allow(10)).ticket, failures=10))


async def circuits(caller: Caller) -> dict[str, Any]:
    return {one["kind"]: one["circuit"] for one in (await caller.ask(CIRCUITS))["integrations"]}


async def test_an_open_circuit_is_seen(caller: Caller, limiter: SharedRateLimiter) -> None:
    assert await circuits(caller) == {"CLERK": CALM, "SMTP": CALM, "TWILIO": CALM, "WHATSAPP": CALM}
    await opened(limiter)
    found = await circuits(caller)
    assert (found["SMTP"], found["WHATSAPP"]) == (CALM, CALM)
    assert (found["TWILIO"]["state"], found["TWILIO"]["consecutiveFailures"]) == ("OPEN", 10)
    assert found["TWILIO"]["openedAt"] < found["TWILIO"]["retryAt"]


async def test_the_circuits_of_an_operation_are_read_in_one_round_trip(
    caller: Caller, application: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []
    execute = Pipeline.execute

    async def counted(self: Pipeline, *arguments: Any, **options: Any) -> Any:
        sent.append([command[0] for command, _ in self.command_stack])
        return await execute(self, *arguments, **options)

    await circuits(caller)
    monkeypatch.setattr(Pipeline, "execute", counted)
    await circuits(caller)
    assert sent == [["EVALSHA"]]


async def test_a_reset_lets_calls_flow_again(caller: Caller, limiter: SharedRateLimiter) -> None:
    await opened(limiter)
    assert (await limiter.allow(5)).count == 0
    payload = (await caller.ask(RESET, kind="TWILIO"))["resetCircuit"]
    assert payload == {
        "integration": {"kind": "TWILIO", "circuit": {"state": "CLOSED", "consecutiveFailures": 0}},
        "errors": [],
    }
    assert (await limiter.allow(5)).count == 5


async def test_what_is_not_configured_has_no_circuit_to_reset(caller: Caller) -> None:
    payload = (await caller.ask(RESET, kind="WHATSAPP"))["resetCircuit"]
    assert payload["integration"] is None
    [error] = payload["errors"]
    assert (error["__typename"], error["path"]) == ("IntegrationUnavailableError", ["input", "kind"])
    assert error["integration"] == {"kind": "WHATSAPP"}
    assert "interalpha check" in error["message"]


@pytest.fixture
async def without_store(graph_urls: Urls, caller: Caller) -> AsyncIterator[Caller]:
    """The same caller with an application whose Redis is unreachable."""
    application = build_application(graph_urls, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    yield Caller(application, caller.engine, caller.principal)
    await application.close()


async def test_without_the_store_circuits_are_closed_and_a_reset_says_try_again(without_store: Caller) -> None:
    assert (await circuits(without_store))["TWILIO"] == CALM
    assert await without_store.code(RESET, kind="TWILIO") == "TRY_AGAIN"


async def test_a_reset_needs_its_scope(new_caller: NewCaller, anonymous: Caller, limiter: SharedRateLimiter) -> None:
    reader = await new_caller(frozenset(Scope) - {Scope.OPERATIONS_WRITE})
    await opened(limiter)
    assert await reader.code(RESET, kind="TWILIO") == "FORBIDDEN"
    assert await anonymous.code(RESET, kind="TWILIO") == "UNAUTHENTICATED"
    assert (await circuits(reader))["TWILIO"]["state"] == "OPEN"
