"""A message pipeline with SMS, WhatsApp and e-mail, and one person who appears in every possible way."""

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from redis.asyncio import Redis

from core.access.api_key_lookup import KeyKind
from core.access.api_keys import NewKey, create_api_key
from core.addresses import known_address
from core.audit.act import Author
from core.messages.delivery import ChannelDelivery
from core.messages.provider_ids import open_id
from core.messages.status import ProviderId, make_step
from core.messages.validation import Draft
from core.person import Person
from core.ports import (
    Channel,
    EmailContent,
    InboundMessage,
    OtherEvent,
    Receipt,
    Reference,
    ReportedStatus,
    StatusReport,
    TextContent,
)
from core.ports.identity import DEFAULT_TENANT, ActorKind, Scope
from core.privacy.erase import Erasure, erasures_by_id, request_erasure, run_erasure_step
from tests.contributed import PERSONAL_DATA
from tests.databases import Urls
from tests.delivery.conftest import integration, new_limiter, pipeline
from tests.delivery.pipeline import FakeSender, MessagePipeline, store_events

__all__ = ["integration", "new_limiter", "pipeline"]

NUMBER, OLD_NUMBER = "+5511987650123", "+551187650123"
MAIL = "maria.quitanda@example.com"
WORDS = "jabuticaba"
NEEDLES = ("987650123", "87650123", MAIL, "maria.quitanda%40", WORDS)
OTHER_NUMBER, OTHER_WORDS = "+5511911112222", "carambola"
AUTHOR = Author("test", ActorKind.PERSON, "sendMessage")


def wamid(number: str, unique: str) -> str:
    """An id as WhatsApp makes it: the person's number is in it."""
    digits = number.removeprefix("+").encode()
    inside = b"\x1c\x18" + bytes([len(digits)]) + digits + b"\x15\x02\x00\x11\x18\x12" + unique.encode() + b"\x00"
    return f"wamid.{b64encode(inside).decode()}"


@dataclass
class Life:
    """What happens between the pipeline and people, over every channel."""

    pipeline: MessagePipeline
    owner: asyncpg.Connection
    redis: Redis

    async def send(self, to: str, words: str, channel: Channel = Channel.SMS, **more: Any) -> UUID:
        kind = known_address(to).kind
        content = EmailContent(words, words, None) if kind == "email" else TextContent(words)
        address = {"email": to} if kind == "email" else {"phone": to}
        draft = Draft(content, [make_step(channel)], author=AUTHOR, **address, **more)
        return (await self.pipeline.outbox.accept(DEFAULT_TENANT, draft)).message_id

    async def deliver(self, channel: Channel = Channel.SMS, name: str = "twilio") -> None:
        sender = FakeSender(
            (lambda message: Receipt(wamid(message.to, message.reference.message_id.hex[-18:])))
            if channel is Channel.WHATSAPP
            else self.pipeline.sender.answer
        )
        sender.gate.set()
        await ChannelDelivery(
            channel, name, sender, self.pipeline.worker, self.pipeline.sealer, self.pipeline.hub, "test-worker"
        ).drain()

    async def told(self, name: str, *events: Any) -> None:
        await store_events(self.pipeline.app, self.pipeline.sealer, name, events)

    async def apply(self) -> None:
        while await self.pipeline.apply():
            pass

    async def report(self, message: UUID, to: str, *, reference: bool = True, status: str = "delivered") -> str:
        """WhatsApp says what became of a message; its first attempt's id names it."""
        row = await self.owner.fetchrow("SELECT * FROM attempts WHERE message_id = $1", message)
        kept = ProviderId(row["provider_id_sealed"], None, None)
        name = str(open_id(self.pipeline.sealer, kept, row["tenant_id"], message, row["number"]))
        raw = f'{{"statuses":[{{"id":"{name}","recipient_id":"{to.removeprefix("+")}"}}]}}'
        await self.told("whatsapp", self.reported(name, raw, message if reference else None, status))
        await self.apply()
        return name

    @staticmethod
    def reported(name: str, raw: str, message: UUID | None, status: str = "delivered") -> StatusReport:
        return StatusReport(
            f"{name}:{status}",
            status,
            raw,
            status=ReportedStatus(status.upper()),
            provider_message_id=name,
            reference=None if message is None else Reference(DEFAULT_TENANT, message, 1),
        )

    async def written(self, sender: str, words: str, name: str) -> None:
        """A person writes to us on WhatsApp."""
        raw = f'{{"messages":[{{"from":"{sender.removeprefix("+")}","id":"{name}","text":{{"body":"{words}"}}}}]}}'
        event = InboundMessage(
            name,
            "received",
            raw,
            channel=Channel.WHATSAPP,
            sender=sender,
            recipient="106540352242922",
            text=words,
            provider_message_id=name,
        )
        await self.told("whatsapp", event)
        await self.apply()

    async def nobody_asked(self, raw: str, key: str) -> None:
        """A webhook nothing here acts on."""
        await self.told("twilio", OtherEvent(key, "optout", raw))
        await self.apply()

    async def listed(self, *addresses: str) -> UUID:
        """A key for a staging system, which may reach only these."""
        key = NewKey("staging", KeyKind.ALLOW_LIST, {Scope.MESSAGES_SEND}, [known_address(one) for one in addresses])
        async with self.pipeline.app.transaction(DEFAULT_TENANT) as connection:
            made, _ = await create_api_key(
                connection, self.pipeline.sealer, DEFAULT_TENANT, key, maker=None, created_by="test"
            )
        return made.id

    async def ask_to_erase(self, address: str) -> UUID:
        async with self.pipeline.app.transaction(DEFAULT_TENANT) as connection:
            return await request_erasure(connection, self.pipeline.sealer, DEFAULT_TENANT, Person.of(address))

    async def erase(self, address: str, *, batch: int = 3) -> Erasure:
        """Erase a person, in many small steps."""
        id = await self.ask_to_erase(address)
        while await run_erasure_step(
            self.pipeline.worker, self.pipeline.sealer, self.pipeline.hub, PERSONAL_DATA, batch=batch
        ):
            pass
        return await self.erasure(id)

    async def erasure(self, id: UUID) -> Erasure:
        async with self.pipeline.app.transaction(DEFAULT_TENANT) as connection:
            found = (await erasures_by_id(connection, DEFAULT_TENANT, [id])).get(id)
        assert found is not None
        return found

    async def grow_old(self, age: timedelta) -> None:
        """Let everything that is there be of another day."""
        await self.owner.execute(
            "UPDATE messages SET created_at = created_at - $1::interval, updated_at = updated_at - $1::interval", age
        )
        await self.owner.execute("UPDATE inbox SET received_at = received_at - $1::interval", age)


@pytest.fixture
async def owner(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.superuser)
    yield connection
    await connection.close()


@pytest.fixture
async def life(pipeline: MessagePipeline, owner: asyncpg.Connection, urls: Urls) -> AsyncIterator[Life]:
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    pipeline.serve(Channel.EMAIL, "smtp")
    async with Redis.from_url(urls.redis) as redis:
        yield Life(pipeline, owner, redis)
