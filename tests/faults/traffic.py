"""Clients: they send with idempotency keys, repeat until they are answered, and record what was accepted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import httpx

from resolvers.global_ids import uuid_of
from tests.faults.system import SystemUnderTest

SEND = """
mutation($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message { id status }
    isReplay
    errors { __typename ... on UserError { message path } }
  }
}"""
CANARY = "Segredo"
"""A word in every text, which no log may contain."""


@dataclass(frozen=True)
class Order:
    """What a client wants to send."""

    tenant: UUID
    key: str
    channel: str
    to: str
    on_unconfirmed: str | None = None

    @property
    def input(self) -> dict[str, Any]:
        text = f"{CANARY} de {self.key}"
        if self.channel == "EMAIL":
            return {
                "to": {"email": self.to},
                "content": {"email": {"subject": text, "plainText": text, "html": f"<p>{text}</p>"}},
                "route": [{"channel": "EMAIL"}],
                "idempotencyKey": self.key,
            }
        return {
            "to": {"phone": self.to},
            "content": {"text": text},
            "route": [{"channel": self.channel, "onUnconfirmed": self.on_unconfirmed}],
            "idempotencyKey": self.key,
        }


@dataclass(frozen=True)
class AcceptedMessage:
    """A message that the API has accepted: from now on it must not be lost."""

    order: Order
    message_id: UUID
    at: float
    took: float
    is_replay: bool


class TryAgain(Exception):
    """There was no answer, or one that asks to repeat the request; `answered` is its text."""

    def __init__(self, answered: str) -> None:
        super().__init__(answered)
        self.answered = answered


@dataclass(eq=False)
class Traffic:
    """Clients of a system. `emails` is the share of e-mails, `twice` of orders that two clients send at once."""

    system: SystemUnderTest
    seed: str
    emails: float = 0.15
    twice: float = 0.1
    accepted: list[AcceptedMessage] = field(default_factory=list)
    given_up: list[Order] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Answers that no client should get; each is a breach."""
    retries: int = 0
    _http: dict[UUID, httpx.AsyncClient] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.system.exit_stack.push_async_callback(self.close)

    def draw(self, chance: Random, tenant: UUID | None = None) -> Order:
        """Return a new order for an address that no other order in this system has."""
        number = next(self.system.numbers)
        owner = tenant or chance.choice(self.system.tenants)
        if chance.random() < self.emails:
            return Order(owner, f"order-{number}", "EMAIL", f"cliente{number}@loja.example.com")
        return Order(owner, f"order-{number}", "SMS", f"+55119{81_000_000 + number}")

    @asynccontextmanager
    async def running_clients(self, clients: int, *, pause: float = 0.05, patience: float = 90) -> AsyncIterator[None]:
        """Let so many clients send one order after the other until the block ends; each finishes its last one."""
        over = asyncio.Event()
        tasks = [
            asyncio.create_task(self._client(Random(f"{self.seed}:client:{number}"), over, pause, patience))
            for number in range(clients)
        ]
        try:
            yield
        finally:
            over.set()
            await asyncio.gather(*tasks)

    async def send_all(self, orders: list[Order], *, at_once: int, patience: float = 90) -> None:
        """Send these orders, so many at once."""
        waiting = iter(orders)

        async def client() -> None:
            for order in waiting:
                await self.send_until_answered(order, patience)

        await asyncio.gather(*(client() for _ in range(at_once)))

    async def _client(self, chance: Random, over: asyncio.Event, pause: float, patience: float) -> None:
        while not over.is_set():
            order = self.draw(chance)
            copies = 2 if chance.random() < self.twice else 1
            await asyncio.gather(*(self.send_until_answered(order, patience) for _ in range(copies)))
            await asyncio.sleep(chance.uniform(0, 2 * pause))

    async def send_until_answered(self, order: Order, patience: float = 90) -> AcceptedMessage | None:
        """Repeat a request with the same key until the message is accepted; give up after `patience` seconds."""
        began, pause = time.monotonic(), 0.05
        while time.monotonic() - began < patience:
            try:
                accepted = await self.send(order)
            except TryAgain:
                self.retries += 1
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                return accepted
        self.given_up.append(order)
        return None

    async def send(self, order: Order) -> AcceptedMessage | None:
        """Send one request. Raises TryAgain; returns None after an answer that no client should get."""
        began = time.monotonic()
        http = self._client_of(order.tenant)
        try:
            answer = await http.post("/graphql", json={"query": SEND, "variables": {"input": order.input}})
        except httpx.HTTPError as error:
            raise TryAgain(type(error).__name__) from error
        if answer.status_code in (502, 503, 504):
            raise TryAgain(str(answer.status_code))
        if answer.status_code != 200:
            return self._record(f"{answer.status_code}: {answer.text[:200]}")
        body = answer.json()
        if errors := body.get("errors"):
            # The request was stopped: it may be repeated with its key, as the answer says.
            if errors[0]["extensions"]["code"] in ("TRY_AGAIN", "TIMEOUT"):
                raise TryAgain(errors[0]["message"])
            return self._record(str(errors)[:300])
        payload = body["data"]["sendMessage"]
        message_id = uuid_of(payload["message"]["id"], "Message") if payload["message"] else None
        if message_id is None:
            return self._record(str(payload["errors"])[:300])
        now = time.monotonic()
        accepted = AcceptedMessage(order, message_id, now, now - began, payload["isReplay"])
        self.accepted.append(accepted)
        return accepted

    async def close(self) -> None:
        """Close the connections; a client that continues opens new ones."""
        for http in self._http.values():
            await http.aclose()
        self._http.clear()

    def _record(self, answer: str) -> AcceptedMessage | None:
        self.refused.append(answer)
        return None

    def _client_of(self, tenant: UUID) -> httpx.AsyncClient:
        if tenant not in self._http:
            headers = {"authorization": f"Bearer {self.system.token(tenant)}"}
            limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
            self._http[tenant] = httpx.AsyncClient(
                base_url=self.system.base, headers=headers, timeout=20, limits=limits, trust_env=False
            )
        return self._http[tenant]
