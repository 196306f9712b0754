"""Delivery over a real database without a network: accept, send with a fake sender, store events, apply them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import text

from core.database import Database
from core.inbox.apply import apply_due_events
from core.inbox.store import store_events as keep_together
from core.messages import queries
from core.messages.accept import Outbox
from core.messages.claim import Timing
from core.messages.delivery import ChannelDelivery
from core.messages.status import make_step
from core.messages.timeouts import apply_due_times, reclaim_expired_leases
from core.messages.validation import ChannelService, Draft
from core.nouns import Installation
from core.ports import Channel, OutboundMessage, ProviderEvent, Receipt, TextContent
from core.ports.identity import DEFAULT_TENANT
from core.pubsub import Hub
from core.sealing import Sealer
from core.settings import CoreSettings
from tests.contributed import EVENT_TYPES

Answer = Callable[[OutboundMessage], Receipt]


@dataclass
class FakeSender:
    """Answers as `answer` says and remembers what it was asked to send; `gate` holds every call while it is closed."""

    answer: Answer = lambda message: Receipt(f"SM{message.reference.message_id.hex}")
    sent: list[OutboundMessage] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, message: OutboundMessage) -> Receipt:
        self.sent.append(message)
        await self.gate.wait()
        return self.answer(message)


@dataclass
class MessagePipeline:
    """Everything between accepting and applying, without a network."""

    app: Database
    worker: Database
    sealer: Sealer
    hub: Hub
    outbox: Outbox
    sender: FakeSender
    delivery: ChannelDelivery
    woken: list[Channel]

    async def accept(self, phone: str = "+5511987654321", body: str = "Olá", key: str | None = None) -> UUID:
        draft = Draft(TextContent(body), [make_step(Channel.SMS)], phone=phone, idempotency_key=key)
        return (await self.outbox.accept(DEFAULT_TENANT, draft)).message_id

    async def keep(self, *events: ProviderEvent) -> int:
        return await store_events(self.app, self.sealer, "twilio", events)

    async def apply(self) -> int:
        return await apply_due_events(self.worker, self.sealer, self.hub, EVENT_TYPES)

    @property
    def installation(self) -> Installation:
        """What contributions work with here."""
        return Installation(CoreSettings(), self.app, self.sealer, self.hub, {}, services={Outbox: self.outbox})

    async def message(self, message_id: UUID, tenant: UUID = DEFAULT_TENANT) -> queries.Message:
        async with self.app.transaction(tenant) as connection:
            found = await queries.messages_by_id(
                connection, self.sealer, tenant, [message_id], sealed=["content", "to", "from"]
            )
        return found[message_id]

    async def status(self, message_id: UUID) -> str:
        return (await self.message(message_id)).status.value

    async def statuses(self, message_id: UUID) -> list[str]:
        """Every change of status, oldest first."""
        return [event.status.value for event in await self.events(message_id) if event.status != event.previous_status]

    async def events(self, message_id: UUID) -> list[queries.EventView]:
        async with self.app.transaction(DEFAULT_TENANT) as connection:
            found = await queries.events_of(connection, DEFAULT_TENANT, [message_id], queries.EventSlice(100))
        return found[message_id]

    async def attempts(self, message_id: UUID) -> list[queries.AttemptView]:
        async with self.app.transaction(DEFAULT_TENANT) as connection:
            return (await queries.attempts_of(connection, self.sealer, DEFAULT_TENANT, [message_id])).get(
                message_id, []
            )

    async def sweep(self) -> None:
        """What a worker's sweep does in one turn."""
        async with self.worker.transaction() as connection:
            await reclaim_expired_leases(connection, hold=Timing().hold)
            await apply_due_times(connection)

    def serve(self, channel: Channel, integration: str) -> None:
        """Let another channel be served here; nothing carries it unless the test does."""
        self.outbox.channels[channel] = ChannelService(integration, True)  # type: ignore[index]

    async def tamper(self, statement: str, **values: object) -> None:
        """Do to the worker's rows what only time or a broken process does."""
        async with self.worker.transaction() as connection:
            await connection.execute(text(statement), values)

    async def count(self, table: str) -> int:
        async with self.worker.transaction() as connection:
            return (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()


def make_pipeline(app: Database, worker: Database, sealer: Sealer, hub: Hub, sender: FakeSender) -> MessagePipeline:
    woken: list[Channel] = []

    async def wake(channel: Channel) -> None:
        woken.append(channel)

    channels = {
        Channel.SMS: ChannelService("twilio", True),
        Channel.EMAIL: ChannelService("smtp", False, "EMAIL is not configured on this server: set SMTP_HOST."),
    }
    sender.gate.set()
    outbox = Outbox(app, sealer, hub, channels, wake)
    delivery = ChannelDelivery(Channel.SMS, "twilio", sender, worker, sealer, hub, "test-worker")
    return MessagePipeline(app, worker, sealer, hub, outbox, sender, delivery, woken)


async def store_events(database: Database, sealer: Sealer, integration: str, events: Sequence[ProviderEvent]) -> int:
    """Store its events, each once; returns how many were new."""
    [new] = await keep_together(database, sealer, EVENT_TYPES, integration, [events])
    return new
