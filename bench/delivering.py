"""C: how fast accepted messages get a company's receipt, beside BullMQ with undici, and with nodemailer's pool.

    .venv/bin/python bench/delivering.py [MESSAGES] [CHANNEL …]      # 1500 messages; SMS and EMAIL

One worker process each, at the very same simulated companies, with as many calls under way. Each is given messages
while it rests; the clock runs from the moment it goes on until the database says that each has its receipt. The
simulators share the machine and report nothing back meanwhile. After every run they are asked: each message has to be
there, once.
"""

import asyncio
import json
import signal
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
from figures import Side, compare, machine
from ground import Ground, ground, processor_seconds, tell

from api.bootstrap import App, build_app
from api.configuration import load_configuration
from core.messages.provider_ids import open_id
from core.messages.status import ProviderId, make_step
from core.messages.validation import Draft
from core.ports import Channel, Content, EmailContent, TextContent
from core.ports.identity import DEFAULT_TENANT
from integrations.simulating.client import SimulatorControl

ROUNDS = 5
WARM_UP = 300
# Mails have ten connections on both sides, and as many again are at hand.
UNDER_WAY = {Channel.SMS: 50, Channel.EMAIL: 20}
COMPANY = {Channel.SMS: "twilio", Channel.EMAIL: "smtp"}
PEER = {Channel.SMS: "BullMQ + undici", Channel.EMAIL: "BullMQ + nodemailer"}
OURS = "leases, attempts, events, sealed columns, tenant isolation, circuit, pace, live hints, logging and metrics on"
OTHERS = "a status and an event before and after each call; nothing sealed, no lease, no circuit, no hints"
HTML = "<p>Olá, Ana! Sua consulta é <b>amanhã às 15h</b>.</p>" * 10
TEXT = "Olá, Ana! Sua consulta é amanhã às 15h."

Fill = Callable[[Sequence[str]], Awaitable[None]]
Go = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Contender:
    """One side: how it is given messages that wait, let go, and asked what still has no receipt."""

    side: Side
    process: Process
    fill: Fill
    go: Go
    waiting: str
    receipts: str
    read: Callable[[asyncpg.Record], str] = lambda row: str(row[0])


async def main() -> None:
    given = sys.argv[1:] or ["1500"]
    messages, channels = int(given[0]), [Channel(name) for name in given[1:] or ["SMS", "EMAIL"]]
    with tempfile.TemporaryDirectory() as folder:
        async with ground(Path(folder)) as at, SimulatorControl(at.control, timeout=60) as control:
            print(f"{machine()}; fsync on\n  ours: {OURS}\n  peer: {OTHERS}", flush=True)
            await control.plan_webhooks("twilio", automatic=False)
            for channel in channels:
                await beside(at, control, channel, messages)


async def beside(at: Ground, control: SimulatorControl, channel: Channel, messages: int) -> None:
    print(f"{channel}, {messages} messages, {UNDER_WAY[channel]} under way", flush=True)
    async with us(at, channel) as ours, peer(at, channel) as other:
        sides = [(ours, other), (other, ours)]
        for contender, resting in sides:
            await run(at, control, channel, contender, resting, WARM_UP)
        for side in (ours.side, other.side):
            side.rates.clear()
            side.costs.clear()
        for _ in range(ROUNDS):
            for contender, resting in sides:
                await run(at, control, channel, contender, resting, messages)
        compare(ours.side, other.side)
        print(
            f"  verified: each of {messages} messages once at the company, and its own receipt, in every run",
            flush=True,
        )


async def run(
    at: Ground, control: SimulatorControl, channel: Channel, one: Contender, resting: Contender, messages: int
) -> None:
    """One side carries so many messages, while the other rests."""
    await control.reset(COMPANY[channel])
    if channel is Channel.SMS:
        await control.plan_webhooks("twilio", automatic=False)
    recipients = [address(channel, number) for number in range(messages)]
    await one.fill(recipients)
    resting.process.send_signal(signal.SIGSTOP)
    connection = await asyncpg.connect(at.direct)
    before, start = processor_seconds(one.process.pid), time.perf_counter()
    await one.go()
    while await connection.fetchval(one.waiting):
        await asyncio.sleep(0.05)  # there is nothing to wait on but the count
        assert time.perf_counter() - start < 300, "not delivered"
    one.side.rates.append(messages / (time.perf_counter() - start))
    one.side.costs.append((processor_seconds(one.process.pid) - before) / messages * 1000)
    resting.process.send_signal(signal.SIGCONT)
    receipts = {one.read(row) for row in await connection.fetch(one.receipts)}
    await connection.close()
    kept = await control.messages(COMPANY[channel])
    reached = Counter(message["to"] if isinstance(message["to"], str) else message["to"][0] for message in kept)
    assert reached == Counter(recipients), "not every message reached the company exactly once"
    assert {message["id"] for message in kept} <= receipts, "a receipt is not the company's"


def address(channel: Channel, number: int) -> str:
    return f"customer-{number}@example.org" if channel is Channel.EMAIL else f"+55119870{number:05d}"


def slices(recipients: Sequence[str], size: int) -> list[Sequence[str]]:
    return [recipients[start : start + size] for start in range(0, len(recipients), size)]


def content(channel: Channel) -> Content:
    return EmailContent("Sua consulta", TEXT, HTML) if channel is Channel.EMAIL else TextContent(TEXT)


@asynccontextmanager
async def us(at: Ground, channel: Channel) -> AsyncIterator[Contender]:
    """Our worker, held still while what it is to carry is accepted as always."""
    house = build_app(load_configuration(at.ours))
    try:
        async with at.program("worker") as process:
            yield Contender(
                Side("ours"),
                process,
                lambda recipients: _accept(process, house, channel, recipients),
                lambda: _continue(process),
                "SELECT count(*) FROM messages WHERE status <> 'SENT'",
                "SELECT * FROM attempts WHERE outcome = 'ACCEPTED'",
                lambda row: str(open_id(house.sealer, _kept(row), row["tenant_id"], row["message_id"], row["number"])),
            )
    finally:
        await house.close()


async def _accept(process: Process, house: App, channel: Channel, recipients: Sequence[str]) -> None:
    # Nobody claims them before all are there.
    process.send_signal(signal.SIGSTOP)
    what, route = content(channel), [make_step(channel)]
    to = "email" if channel is Channel.EMAIL else "phone"
    for some in slices(recipients, 200):
        drafts = [Draft(what, route, **{to: one}) for one in some]  # type: ignore[arg-type]
        await asyncio.gather(*(house.services.outbox.accept(DEFAULT_TENANT, draft) for draft in drafts))


async def _continue(process: Process) -> None:
    process.send_signal(signal.SIGCONT)


async def _do(at: Ground, statement: str, *values: object) -> None:
    connection = await asyncpg.connect(at.direct)
    await connection.execute(statement, *values)
    await connection.close()


@asynccontextmanager
async def peer(at: Ground, channel: Channel) -> AsyncIterator[Contender]:
    """BullMQ's worker. What it is to carry is queued while the queue is paused."""
    under_way = str(UNDER_WAY[channel])
    async with at.peer("deliver.js", CHANNEL=channel, CONCURRENCY=under_way) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"

        async def fill(recipients: Sequence[str]) -> None:
            what = content(channel)
            said = {"text": TEXT}
            if isinstance(what, EmailContent):
                said = {"subject": what.subject, "plainText": what.plain_text or "", "html": what.html or ""}
            await _do(
                at,
                _PEERS_MESSAGES,
                [uuid4() for _ in recipients],
                DEFAULT_TENANT,
                channel,
                recipients,
                json.dumps(said),
            )
            await tell(process, "fill")

        yield Contender(
            Side(PEER[channel]),
            process,
            fill,
            lambda: tell(process, "go"),
            "SELECT count(*) FROM peer.messages WHERE status <> 'SENT'",
            "SELECT provider_message_id FROM peer.messages WHERE status = 'SENT'",
        )


def _kept(row: asyncpg.Record) -> ProviderId:
    return ProviderId(row["provider_id_sealed"], row["provider_id_lookup"], row["provider_message_id"])


_PEERS_MESSAGES = """
INSERT INTO peer.messages (id, tenant_id, channel, recipient, content, status)
SELECT id, $2, $3, recipient, $5::jsonb, 'QUEUED' FROM unnest($1::uuid[], $4::text[]) AS given(id, recipient)
"""


if __name__ == "__main__":
    asyncio.run(main())
