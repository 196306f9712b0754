"""The simulator process, a server that receives its webhooks, and ports for servers."""

import asyncio
import json
import os
import random
import socket
import sys
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from integrations.simulating.client import SimulatorControl
from tests.helpers import wait_until

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
class ReceivedWebhook:
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
class WebhookReceiver:
    """Takes webhooks at any path; `answers` are the statuses of the next ones, and then it is 204."""

    base: str = ""
    answers: list[int] = field(default_factory=list)
    received: list[ReceivedWebhook] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        body, form = await request.read(), await request.post()
        fields = {key: str(form[key]) for key in form}
        self.received.append(ReceivedWebhook(self.base + request.raw_path, dict(request.headers), fields, body))
        return web.Response(status=self.answers.pop(0) if self.answers else 204)

    async def shake_hands(self, request: web.Request) -> web.Response:
        """Answer Meta's verification request if it has our token."""
        is_ours = request.query.get("hub.verify_token") == WHATSAPP["WHATSAPP_WEBHOOK_VERIFY_TOKEN"]
        return web.Response(text=request.query["hub.challenge"]) if is_ours else web.Response(status=403)

    def about(self, part: str) -> list[ReceivedWebhook]:
        return [webhook for webhook in self.received if part in webhook.url]

    async def wait_for(self, part: str, count: int) -> list[ReceivedWebhook]:
        await wait_until(lambda: len(self.about(part)) >= count)
        return self.about(part)


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


def simulator_environment(**changes: str) -> dict[str, str]:
    """The environment of the simulator process."""
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


async def start_simulators(**changes: str) -> asyncio.subprocess.Process:
    """Start a simulator process."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "integrations.simulating.server",
        env=simulator_environment(**changes),
        stdout=pipe,
        stderr=pipe,
    )


def free_port() -> int:
    """Return a port that is free now; the system may give it to another process before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Linux uses 32768 and above for outgoing connections, other systems 49152 and above; well-known servers use ports below
# 20000.
_FIRST_RESERVED, _LAST_RESERVED = 20_000, 32_000
# Not seeded: two runs at once must not draw the same ports in the same order.
_draw = random.SystemRandom()


def reserved_port() -> int:
    """Return a free port that the system gives to no outgoing connection, so that a server can restart on it."""
    for _ in range(100):
        port = _draw.randrange(_FIRST_RESERVED, _LAST_RESERVED)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no reserved port is free")
