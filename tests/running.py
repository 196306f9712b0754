"""One simulator process for all who ask, and a small server that receives its webhooks."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from aiohttp import web

from integrations.simulating.client import SimulatorControl

Result = TypeVar("Result")

ACCOUNT = "AC" + "a" * 32
TOKEN = "1234567890" * 3 + "12"
KEY = ("SK" + "b" * 32, "key-secret")
SERVICE = "MG" + "c" * 32
NUMBER = "+15005550006"
USER, PASSWORD = "relay-user", "relay-password"
WHATSAPP = {
    "WHATSAPP_ACCESS_TOKEN": "EAAtoken",
    "WHATSAPP_PHONE_NUMBER_ID": "106540352242922",
    "WHATSAPP_BUSINESS_ACCOUNT_ID": "102290129340398",
    "WHATSAPP_APP_SECRET": "0123456789abcdef0123456789abcdef",
    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "sixteen-or-more!",
}

CLERK = {
    "CLERK_SECRET_KEY": "sk_test_" + "d" * 24,
    "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
    "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
}


@dataclass(frozen=True)
class Received:
    """A webhook as it came."""

    url: str
    headers: dict[str, str]
    fields: dict[str, str]
    body: bytes

    @property
    def value(self) -> dict[str, Any]:
        """What the first change of a webhook of Meta's holds."""
        return dict(json.loads(self.body)["entry"][0]["changes"][0]["value"])

    @property
    def status(self) -> str:
        return self.fields["SmsStatus"]


@dataclass
class Receiver:
    """Takes webhooks at any path; `answers` are the statuses of the next ones, and then it is 204."""

    base: str = ""
    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body, form = await request.read(), await request.post()
        fields = {key: str(form[key]) for key in form}
        self.received.append(Received(self.base + request.raw_path, dict(request.headers), fields, body))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    async def shake_hands(self, request: web.Request) -> web.Response:
        """Answer Meta's question as whoever knows the token does."""
        is_ours = request.query.get("hub.verify_token") == WHATSAPP["WHATSAPP_WEBHOOK_VERIFY_TOKEN"]
        return web.Response(text=request.query["hub.challenge"]) if is_ours else web.Response(status=403)

    def about(self, part: str) -> list[Received]:
        return [webhook for webhook in self.received if part in webhook.url]

    async def wait_for(self, part: str, count: int) -> list[Received]:
        await until(lambda: len(self.about(part)) >= count)
        return self.about(part)


async def until(happened: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something, not longer than needed."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.01)


async def eventually(ask: Callable[[], Awaitable[Result]], holds: Callable[[Result], bool]) -> Result:
    """Ask until the answer is the one waited for."""
    async with asyncio.timeout(5):
        while not holds(answer := await ask()):
            await asyncio.sleep(0.01)
    return answer


@dataclass(frozen=True)
class Simulators:
    """The running process."""

    announced: dict[str, Any]
    control: SimulatorControl

    @property
    def twilio_base(self) -> str:
        return f"{self.announced['http']}/twilio"

    @property
    def clerk_base(self) -> str:
        return f"{self.announced['http']}/clerk"

    @property
    def whatsapp_base(self) -> str:
        return f"{self.announced['http']}/whatsapp"


def environment(**changes: str) -> dict[str, str]:
    """What the process is told."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONWARNINGS": "error",
        "APP_ENV": "test",
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_API_KEY_SID": KEY[0],
        "TWILIO_API_KEY_SECRET": KEY[1],
        "TWILIO_PHONE_NUMBER": NUMBER,
        "TWILIO_MESSAGING_SERVICE_SID": SERVICE,
        "SMTP_USERNAME": USER,
        "SMTP_PASSWORD": PASSWORD,
        **WHATSAPP,
        **CLERK,
        **changes,
    }


async def start_process(**changes: str) -> asyncio.subprocess.Process:
    """Start a simulator process."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "integrations.simulating.server", env=environment(**changes), stdout=pipe, stderr=pipe
    )


@pytest.fixture(scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.take)
    app.router.add_get("/webhooks/whatsapp", receiver.shake_hands)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


@pytest.fixture(scope="session")
async def process(receiver: Receiver) -> AsyncIterator[Simulators]:
    child = await start_process(PUBLIC_BASE_URL=receiver.base)
    assert child.stdout is not None
    async with asyncio.timeout(10):
        line = await child.stdout.readline()
    assert line, (await child.communicate())[1].decode()
    announced = json.loads(line)
    async with SimulatorControl(announced["http"]) as control:
        yield Simulators(announced, control)
    child.terminate()
    async with asyncio.timeout(5):
        _, errors = await child.communicate()
    assert (child.returncode, errors.decode()) == (0, "")


@pytest.fixture
async def simulators(process: Simulators, receiver: Receiver) -> Simulators:
    """The process as on its first day."""
    await process.control.reset()
    receiver.received.clear()
    receiver.answers.clear()
    return process
