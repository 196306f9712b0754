"""After `SMS_VIA` is changed, new messages go through the other provider; earlier ones are settled by the first."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from api.bootstrap import App, build_app
from api.configuration import load_configuration
from api.worker.loops import Worker, build_worker
from api.worker.process import _until_ready
from core.errors import OutcomeUnknown
from core.liveness import Activity, ActivityReporter
from core.messages import queries
from core.messages.status import Step, UnconfirmedPolicy, make_step
from core.messages.validation import Draft
from core.ports import Channel, ProviderRecord, ReportedStatus, TextContent
from core.ports.identity import DEFAULT_TENANT
from core.sealing import prepare_lookups
from tests.apps import TWILIO
from tests.databases import ENCRYPTION_KEY, Urls
from tests.edge.factories import client_of
from tests.second_provider import PIGEON, pigeon

__all__ = ["pigeon"]


@dataclass(frozen=True, slots=True)
class Via:
    """An API and a worker whose SMS goes through one provider, both being configured."""

    app: App
    worker: Worker

    async def turn(self, name: str) -> None:
        [loop] = [one for one in self.worker.loops if one.name == name]
        loop.wake()
        await loop.turn()

    async def accept(self, *route: Step) -> UUID:
        draft = Draft(TextContent("Olá"), list(route) or [make_step(Channel.SMS)], phone="+5511987654321")
        return (await self.app.services.outbox.accept(DEFAULT_TENANT, draft)).message_id

    async def send(self, *route: Step) -> UUID:
        message_id = await self.accept(*route)
        await self.turn("deliver SMS")
        return message_id

    async def settle(self, owner: asyncpg.Connection) -> None:
        """Settle what is unconfirmed, as if everything had run for an hour."""
        for pulse in Activity:
            await ActivityReporter(self.worker.app.database, pulse).beat()
        await owner.execute("UPDATE pulses SET resumed_at = now() - interval '1 hour'")
        await owner.execute("UPDATE messages SET due_at = now() WHERE status = 'UNCONFIRMED'")
        await self.turn("settle")

    async def report(self, id: str, status: str, reference: str | None = None) -> int:
        """A webhook of the second provider, applied."""
        body = json.dumps({"id": id, "status": status, "reference": reference})
        async with client_of(self.app) as client:
            headers = {"x-pigeon-key": PIGEON["PIGEON_KEY"]}
            answer = await client.post("/webhooks/pigeon", content=body, headers=headers)
        await self.worker.read_inbox()
        return answer.status_code

    async def status(self, message_id: UUID) -> str:
        async with self.app.database.transaction(DEFAULT_TENANT) as connection:
            found = await queries.messages_by_id(connection, self.app.sealer, DEFAULT_TENANT, [message_id])
        return found[message_id].status.value

    async def attempts(self, message_id: UUID) -> list[tuple[str, str]]:
        """The integration and outcome of each attempt."""
        async with self.app.database.transaction(DEFAULT_TENANT) as connection:
            found = await queries.attempts_of(connection, self.app.sealer, DEFAULT_TENANT, [message_id])
        return [(one.integration, one.outcome.value) for one in found[message_id]]


Start = Callable[[str], Awaitable[Via]]


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.direct)
    yield connection
    await connection.close()


@pytest.fixture
async def start(urls: Urls, pigeon: Any) -> AsyncIterator[Start]:
    """Start processes whose SMS goes through the provider that is given."""
    apps: list[App] = []

    async def via(name: str) -> Via:
        environment = {
            "APP_ENV": "test",
            "DATABASE_URL": urls.app,
            "DATABASE_URL_WORKER": urls.worker,
            "REDIS_URL": urls.redis,
            "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
            **TWILIO,
            **PIGEON,
            "SMS_VIA": name,
        }
        configuration = load_configuration(environment)
        app, working = build_app(configuration), build_app(configuration, for_worker=True)
        apps.extend([app, working])
        await prepare_lookups(working.database, working.sealer)
        # Nothing answers at Twilio's address here, and other tests share the circuit.
        await app.services.circuits.reset("twilio", by="test")
        return Via(app, build_worker(working))

    yield via
    for app in apps:
        await app.close()


async def test_new_messages_go_through_the_provider_that_is_chosen(start: Start, pigeon: Any) -> None:
    first, other = await start("pigeon"), await start("twilio")
    message_id = await first.send()
    assert (await first.status(message_id), len(pigeon.SENT)) == ("SENT", 1)
    message_id = await other.send()
    assert len(pigeon.SENT) == 1
    [(integration, _)] = await other.attempts(message_id)
    assert integration == "twilio"


async def test_a_report_of_the_earlier_provider_is_applied(start: Start) -> None:
    message_id = await (await start("pigeon")).send()
    later = await start("twilio")
    assert await later.report(f"P{message_id.hex}", "DELIVERED") == 204
    assert await later.status(message_id) == "DELIVERED"
    assert await later.attempts(message_id) == [("pigeon", "ACCEPTED")]


async def test_an_unconfirmed_message_is_looked_up_at_the_provider_that_may_have_it(
    start: Start, pigeon: Any, owner: asyncpg.Connection
) -> None:
    pigeon.ERRORS.append(OutcomeUnknown("The line broke.", provider="pigeon"))
    message_id = await (await start("pigeon")).send(make_step(Channel.SMS, on_unconfirmed=UnconfirmedPolicy.RESEND))
    later = await start("twilio")
    pigeon.LISTED.append(ProviderRecord("P1", ReportedStatus.DELIVERED))
    await later.settle(owner)
    assert [one.reference.message_id for one in pigeon.SOUGHT] == [message_id]
    assert await later.status(message_id) == "DELIVERED"
    assert await later.attempts(message_id) == [("pigeon", "ACCEPTED")]


async def test_an_unconfirmed_message_that_the_earlier_provider_does_not_have_is_sent_through_the_other(
    start: Start, pigeon: Any, owner: asyncpg.Connection
) -> None:
    pigeon.ERRORS.append(OutcomeUnknown("The line broke.", provider="pigeon"))
    message_id = await (await start("pigeon")).send(make_step(Channel.SMS, on_unconfirmed=UnconfirmedPolicy.RESEND))
    later = await start("twilio")
    await later.settle(owner)
    assert await later.status(message_id) == "QUEUED"
    await later.turn("deliver SMS")
    assert [one for one, _ in await later.attempts(message_id)] == ["pigeon", "twilio"]
    # The earlier provider took it after all, and says so.
    [sent] = pigeon.SENT
    await later.report("P1", "DELIVERED", str(sent.reference))
    assert await later.status(message_id) == "DELIVERED"


async def test_of_two_records_one_is_another_message_where_the_provider_was_called_once(
    start: Start, pigeon: Any, owner: asyncpg.Connection
) -> None:
    pigeon.ERRORS.extend(OutcomeUnknown("The line broke.", provider="pigeon") for _ in range(2))
    via = await start("pigeon")
    message_id = await via.send(make_step(Channel.SMS, on_unconfirmed=UnconfirmedPolicy.RESEND))
    await via.settle(owner)
    await via.turn("deliver SMS")
    assert await via.attempts(message_id) == [("pigeon", "UNCONFIRMED")] * 2
    pigeon.LISTED.extend(ProviderRecord(f"P{number}", ReportedStatus.DELIVERED) for number in (1, 2))
    await owner.execute("UPDATE attempts SET integration = 'twilio' WHERE number = 1")
    await via.settle(owner)
    assert await via.status(message_id) == "UNCONFIRMED"
    # Where it was called twice, its list may show both.
    await owner.execute("UPDATE attempts SET integration = 'pigeon'")
    await via.settle(owner)
    assert await via.status(message_id) == "DELIVERED"


async def test_a_message_that_waited_is_tried_again_through_the_provider_that_is_chosen_now(
    start: Start, pigeon: Any
) -> None:
    first, later = await start("twilio"), await start("pigeon")
    message_id = await first.accept()
    await later.turn("deliver SMS")
    assert await later.attempts(message_id) == [("pigeon", "ACCEPTED")]


async def test_the_addresses_of_both_providers_are_registered(start: Start, owner: asyncpg.Connection) -> None:
    assert await _until_ready((await start("twilio")).worker.app, asyncio.Event())
    rows = await owner.fetch("SELECT integration, address FROM senders ORDER BY integration")
    assert [tuple(row) for row in rows] == [("pigeon", "+15005550009"), ("twilio", "+15005550006")]
