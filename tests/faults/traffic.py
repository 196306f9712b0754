"""Clients: they send under idempotency keys, insist until they are answered, and write down what they were promised."""

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
"""A word of every text: it must never be seen in a log."""


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
    """A promise: this message is ours from now on."""

    order: Order
    message_id: UUID
    at: float
    took: float
    is_replay: bool


class TryAgain(Exception):
    """No answer, or one that asks to come again; `answered` is what came, if anything."""

    def __init__(self, answered: str) -> None:
        super().__init__(answered)
        self.answered = answered


@dataclass(eq=False)
class Traffic:
    """Clients of a city. `emails` is the share of e-mails, `twice` that of orders sent by two at once."""

    city: SystemUnderTest
    seed: str
    emails: float = 0.15
    twice: float = 0.1
    acked: list[AcceptedMessage] = field(default_factory=list)
    given_up: list[Order] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Answers no client should ever get: they are breaches."""
    waits: int = 0
    _http: dict[UUID, httpx.AsyncClient] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.city.leaving.push_async_callback(self.close)

    def draw(self, chance: Random, tenant: UUID | None = None) -> Order:
        """A new order; its address is nobody else's in this city."""
        number = next(self.city.numbers)
        owner = tenant or chance.choice(self.city.tenants)
        if chance.random() < self.emails:
            return Order(owner, f"order-{number}", "EMAIL", f"cliente{number}@loja.example.com")
        return Order(owner, f"order-{number}", "SMS", f"+55119{81_000_000 + number}")

    @asynccontextmanager
    async def flowing(self, clients: int, *, pause: float = 0.05, patience: float = 90) -> AsyncIterator[None]:
        """So many clients send, one order after the other, until the block ends; then each brings its last one home."""
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

    async def burst(self, orders: list[Order], *, at_once: int, patience: float = 90) -> None:
        """Send these, so many at a time."""
        waiting = iter(orders)

        async def client() -> None:
            for order in waiting:
                await self.insist(order, patience)

        await asyncio.gather(*(client() for _ in range(at_once)))

    async def _client(self, chance: Random, over: asyncio.Event, pause: float, patience: float) -> None:
        while not over.is_set():
            order = self.draw(chance)
            copies = 2 if chance.random() < self.twice else 1
            await asyncio.gather(*(self.insist(order, patience) for _ in range(copies)))
            await asyncio.sleep(chance.uniform(0, 2 * pause))

    async def insist(self, order: Order, patience: float = 90) -> AcceptedMessage | None:
        """Send under the same key until the answer is a promise; None, and a note, when patience is at an end."""
        began, pause = time.monotonic(), 0.05
        while time.monotonic() - began < patience:
            try:
                acked = await self.send(order)
            except TryAgain:
                self.waits += 1
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                return acked
        self.given_up.append(order)
        return None

    async def send(self, order: Order) -> AcceptedMessage | None:
        """One request. Raises TryAgain; an answer nobody should get is noted, and None comes back."""
        began = time.monotonic()
        http = self._client_of(order.tenant)
        try:
            answer = await http.post("/graphql", json={"query": SEND, "variables": {"input": order.input}})
        except httpx.HTTPError as error:
            raise TryAgain(type(error).__name__) from error
        if answer.status_code in (502, 503, 504):
            raise TryAgain(str(answer.status_code))
        if answer.status_code != 200:
            return self._note(f"{answer.status_code}: {answer.text[:200]}")
        body = answer.json()
        if errors := body.get("errors"):
            # Given up in the middle: under its key it may be repeated, as the answer's advice says.
            if errors[0]["extensions"]["code"] in ("TRY_AGAIN", "TIMEOUT"):
                raise TryAgain(errors[0]["message"])
            return self._note(str(errors)[:300])
        payload = body["data"]["sendMessage"]
        message_id = uuid_of(payload["message"]["id"], "Message") if payload["message"] else None
        if message_id is None:
            return self._note(str(payload["errors"])[:300])
        now = time.monotonic()
        acked = AcceptedMessage(order, message_id, now, now - began, payload["isReplay"])
        self.acked.append(acked)
        return acked

    async def close(self) -> None:
        """Hang up; a client that goes on calls again."""
        for http in self._http.values():
            await http.aclose()
        self._http.clear()

    def _note(self, answer: str) -> None:
        self.refused.append(answer)

    def _client_of(self, tenant: UUID) -> httpx.AsyncClient:
        if tenant not in self._http:
            headers = {"authorization": f"Bearer {self.city.token(tenant)}"}
            limits = httpx.Limits(max_connections=200, max_keepalive_connections=50)
            self._http[tenant] = httpx.AsyncClient(
                base_url=self.city.base, headers=headers, timeout=20, limits=limits, trust_env=False
            )
        return self._http[tenant]
