"""Look-ups: a message the provider accepted is found, one it did not accept is not, and uncertainty is an error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import OutcomeUnknown, ProviderError
from core.ports import Connected, DeliveryLookup, LookupRequest, MessageSender, OutboundMessage, TextContent
from tests.contract.providers import CONNECTABLE, PROVIDERS, WITH_LOOKUP, FailureMode, connect_provider
from tests.servers import Simulators


@asynccontextmanager
async def connected_to(name: str, running: Simulators) -> AsyncIterator[Connected]:
    connected = connect_provider(name, **PROVIDERS[name].simulated(running))
    yield connected
    await connected.close()


def sender_of(connected: Connected) -> MessageSender:
    assert connected.sender is not None
    return connected.sender


def lookup_of(connected: Connected) -> DeliveryLookup:
    assert connected.lookup is not None
    return connected.lookup


def sought(message: OutboundMessage, sid: str | None = None) -> LookupRequest:
    started = datetime.now(UTC) - timedelta(seconds=5)
    return LookupRequest(message.reference, message.channel, message.to, message.content, started, sid)


@pytest.mark.parametrize("name", CONNECTABLE)
async def test_every_provider_with_a_look_up_is_covered(name: str) -> None:
    connected = connect_provider(name)
    assert (connected.lookup is not None) is (name in WITH_LOOKUP)
    await connected.close()


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("name", WITH_LOOKUP)
async def test_it_finds_what_the_provider_accepted_and_nothing_else(
    name: str, accepted: bool, simulators: Simulators
) -> None:
    message = PROVIDERS[name].message
    others = [replace(message, content=TextContent("Outro texto")), replace(message, to=f"{message.to[:-1]}9")]
    async with connected_to(name, simulators) as connected:
        for other in others:
            await sender_of(connected).send(other)
        await simulators.control.arm(name, "reset", next=1, accepted=accepted)
        with pytest.raises(OutcomeUnknown):
            await sender_of(connected).send(message)
        found = await lookup_of(connected).find(sought(message))
    kept = await simulators.control.messages(name)
    assert len(kept) == len(others) + accepted
    assert [one.provider_message_id for one in found] == [one["id"] for one in kept[len(others) :]]


@pytest.mark.parametrize("name", WITH_LOOKUP)
async def test_it_finds_a_message_by_the_provider_id(name: str, simulators: Simulators) -> None:
    message = PROVIDERS[name].message
    async with connected_to(name, simulators) as connected:
        receipts = [await sender_of(connected).send(message) for _ in range(2)]
        sid = receipts[0].provider_message_id
        (found,) = await lookup_of(connected).find(sought(message, sid))
        assert found.provider_message_id == sid
        assert len(await lookup_of(connected).find(sought(message))) == 2


@pytest.mark.parametrize("kind", ["server_error", "garbage", "reset", "rate_limit"])
@pytest.mark.parametrize("name", WITH_LOOKUP)
async def test_an_unreadable_look_up_is_not_an_empty_one(name: str, kind: str, simulators: Simulators) -> None:
    message = PROVIDERS[name].message
    async with connected_to(name, simulators) as connected:
        state = await simulators.control.state(name)
        for point in {"list", "fetch"} & set(state["points"]):
            await simulators.control.arm(name, kind, always=True, at=point)
        sid = str((await sender_of(connected).send(message)).provider_message_id)
        for question in (sought(message), sought(message, sid)):
            with pytest.raises(ProviderError):
                await lookup_of(connected).find(question)
        with pytest.raises(ProviderError):
            await lookup_of(connected).count(datetime.now(UTC).date())


@pytest.mark.parametrize(
    "failure_mode", [FailureMode.AWAY, FailureMode.SILENT, FailureMode.MISCONFIGURED, FailureMode.LATER]
)
@pytest.mark.parametrize("name", WITH_LOOKUP)
async def test_a_failing_provider_has_not_denied_the_message(
    name: str, failure_mode: FailureMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    PROVIDERS[name].hurry(monkeypatch)
    async with PROVIDERS[name].facing(failure_mode) as changes:
        connected = connect_provider(name, **changes)
        with pytest.raises(ProviderError):
            await lookup_of(connected).find(sought(PROVIDERS[name].message))
        await connected.close()
