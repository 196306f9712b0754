"""The system as it runs: API, worker and simulated providers in processes of their own, used over the network."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from core.access.sessions import DevelopmentTokens
from integrations.simulating.client import SimulatorControl
from tests.databases import ENCRYPTION_KEY, SharedStores, Urls
from tests.helpers import until
from tests.servers import free_port

SEND = """
mutation($input: SendMessageInput!) {
  sendMessage(input: $input) {
    message { id status }
    isReplay
    errors { __typename ... on UserError { message path } }
  }
}"""


SHOW = """
query($id: ID!) {
  message(id: $id) {
    status
    failure { reason party providerCode }
    attempts { number outcome providerMessageId }
    events(first: 50) { nodes { status source detail } }
  }
}"""


WATCH = """
subscription($ids: [ID!]) {
  messageStatusChanged(filter: {ids: $ids}) { previousStatus event { status } message { id status } }
}"""


_numbers = count(98_700_0000)


@dataclass
class Process:
    """A child process of the test run that prints to a file."""

    command: list[str]
    environment: Mapping[str, str]
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=log
            )

    async def first_line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 20)).decode()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode or 0


@dataclass
class System:
    """The running system and a client of it."""

    base: str
    token: str
    api: Process
    worker: Process
    control: SimulatorControl
    http: httpx.AsyncClient
    urls: Urls
    environment: dict[str, str] = field(default_factory=dict)

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = await self.http.post("/graphql", json={"query": query, "variables": variables})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert "errors" not in body, body
        return dict(body["data"])

    async def send(self, **message: Any) -> str:
        payload = (await self.ask(SEND, input=message))["sendMessage"]
        assert payload["errors"] == []
        return str(payload["message"]["id"])

    async def sms(self, phone: str, text: str = "Olá, Ana!", **more: Any) -> str:
        return await self.send(to={"phone": phone}, content={"text": text}, route=[{"channel": "SMS"}], **more)

    async def email(self, address: str, subject: str = "Olá", **more: Any) -> str:
        content = {"email": {"subject": subject, "plainText": "Oi, Ana", "html": "<p>Oi, Ana</p>"}}
        return await self.send(to={"email": address}, content=content, route=[{"channel": "EMAIL"}], **more)

    async def show(self, message_id: str) -> dict[str, Any]:
        return dict((await self.ask(SHOW, id=message_id))["message"])

    async def status(self, message_id: str) -> str:
        return str((await self.show(message_id))["status"])

    async def comes_to(self, message_id: str, status: str, seconds: float = 10) -> dict[str, Any]:
        return await until(lambda: self.show(message_id), lambda shown: shown["status"] == status, seconds)

    async def changes(self, message_id: str) -> list[str]:
        """Return each status the message had, in order, without repetitions."""
        found: list[str] = []
        for event in (await self.show(message_id))["events"]["nodes"]:
            if found[-1:] != [event["status"]]:
                found.append(event["status"])
        return found

    async def copies(self, phone: str) -> int:
        """Count the messages for this number in the provider's own log."""
        return len(await self.control.messages("twilio", to=phone))

    @asynccontextmanager
    async def watch(self, *ids: str) -> AsyncIterator["Subscription"]:
        """Subscribe to messages over a socket."""
        url = self.base.replace("http", "ws") + "/graphql"
        async with connect(url, subprotocols=["graphql-transport-ws"]) as socket_:  # type: ignore[list-item]
            await socket_.send(
                json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {self.token}"}})
            )
            assert json.loads(await socket_.recv())["type"] == "connection_ack"
            payload = {"query": WATCH, "variables": {"ids": list(ids) or None}}
            await socket_.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
            yield Subscription(socket_)


@dataclass
class Subscription:
    """A subscription on an open socket."""

    socket: Any

    async def next(self) -> dict[str, Any]:
        frame = json.loads(await asyncio.wait_for(self.socket.recv(), 10))
        assert frame["type"] == "next", frame
        assert "errors" not in frame["payload"], frame
        return dict(frame["payload"]["data"]["messageStatusChanged"])

    async def statuses_until(self, last: str) -> list[str]:
        found: list[str] = []
        while last not in found[-1:]:
            found.append((await self.next())["event"]["status"])
        return found


def new_phone() -> str:
    """Return a Brazilian mobile number that no other test of this run uses."""
    return f"+5511{next(_numbers)}"


@pytest.fixture
def phone() -> str:
    """A number that only this test uses."""
    return new_phone()


def environment(urls: Urls, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "APP_ENV": "test",
        "DATABASE_URL": urls.app,
        "DATABASE_URL_WORKER": urls.worker,
        "DATABASE_URL_DIRECT": urls.direct,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "TWILIO_ACCOUNT_SID": "AC" + "a" * 32,
        "TWILIO_AUTH_TOKEN": "0123456789abcdef" * 2,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        # The default for a number of the United States is one message a second, too slow for tests.
        "TWILIO_MESSAGES_PER_SECOND": "1000",
        "UNCONFIRMED_HOLD": "1",
        "WHATSAPP_ACCESS_TOKEN": "EAAGsimulated",
        "WHATSAPP_PHONE_NUMBER_ID": "106540352242922",
        "WHATSAPP_BUSINESS_ACCOUNT_ID": "102290129340398",
        "WHATSAPP_APP_SECRET": "0123456789abcdef" * 2,
        "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "verify-token-of-16-characters",
        "SMTP_TLS": "none",
        "SMTP_USERNAME": "relay",
        "SMTP_PASSWORD": "dummy-password",
        "SMTP_FROM": "Loja <oi@example.com>",
        "CLERK_SECRET_KEY": "sk_test_" + "0" * 24,
        "CLERK_PUBLISHABLE_KEY": "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
        "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    }


PROGRAM = (str(Path(sys.executable).parent / "interalpha"),)


def command(*arguments: str) -> list[str]:
    return [*PROGRAM, *arguments]


async def _prepare_nothing(_database: str) -> None:
    return None


@asynccontextmanager
async def running_system(
    stores: SharedStores,
    folder: Path,
    *,
    is_ready: int = 200,
    is_calm: bool = True,
    program: Sequence[str] = PROGRAM,
    prepare: Callable[[str], Awaitable[None]] = _prepare_nothing,
    **settings: str,
) -> AsyncIterator[System]:
    """Start a system with its own database; at the end every process must shut down with status 0.

    With `is_calm`, where no store is taken away, no log may contain a traceback. `program` is run instead of
    `interalpha`, after `prepare` was given the direct address of the new database.
    """
    port = free_port()
    async with stores.database() as urls:
        await prepare(urls.direct)
        env = environment(urls, port) | settings
        simulators = Process([*program, "simulators"], env, folder / "simulators.log")
        await simulators.start()
        announced = json.loads(await simulators.first_line())
        env |= {
            "TWILIO_API_BASE": f"{announced['http']}/twilio",
            "WHATSAPP_API_BASE": f"{announced['http']}/whatsapp",
            "CLERK_API_BASE": f"{announced['http']}/clerk",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(announced["smtp"]),
        }
        api = Process([*program, "serve", "--port", str(port)], env, folder / "api.log")
        worker = Process([*program, "worker"], env, folder / "worker.log")
        await asyncio.gather(api.start(), worker.start())
        base = f"http://127.0.0.1:{port}"
        token = DevelopmentTokens(b"k" * 32).make()
        headers = {"authorization": f"Bearer {token}"}
        try:
            async with (
                SimulatorControl(announced["http"]) as control,
                httpx.AsyncClient(base_url=base, headers=headers, timeout=10, trust_env=False) as http,
            ):
                await until(lambda: readiness(http), lambda status: status == is_ready, 30)
                yield System(base, token, api, worker, control, http, urls, env)
        finally:
            codes = {one.log.name: await one.end() for one in (api, worker, simulators)}
        assert set(codes.values()) == {0}, codes
        for one in (api, worker) if is_calm else (api,):
            assert "Traceback" not in one.log.read_text(), one.log.read_text()


async def readiness(http: httpx.AsyncClient) -> int:
    try:
        return (await http.get("/health/ready")).status_code
    except httpx.HTTPError:
        return 0
