"""A whole run with secrets made for it, and a search for them in everything it writes.

API, worker, simulated providers and commands run in processes of their own with full logging; calls succeed and fail.
The secret settings come from their declarations, so a new one is searched for as soon as it exists.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from websockets.asyncio.client import connect

from api.configuration import load_configuration
from core.access.sessions import DevelopmentTokens
from integrations.simulating.client import SimulatorControl
from resolvers.schema import build_schema
from tests.cli.processes import WORKING_FOLDER
from tests.databases import ENCRYPTION_KEY, SharedStores, Urls
from tests.helpers import until
from tests.running_system import SEND, Process, command, environment, readiness
from tests.security.canaries import (
    OAUTH_SETTINGS,
    SECRET_SETTINGS,
    SERVICE_ACCOUNT,
    Canary,
    canaries_found,
    canaries_of,
    canary_value,
)
from tests.security.operations import OperationBuilder
from tests.servers import free_port

pytestmark = pytest.mark.slow
NEIGHBOURS = {
    "SMTP_HOST": "127.0.0.1",
    "SMTP_FALLBACK_HOST": "127.0.0.1",
    "SMTP_FALLBACK_USERNAME": "second",
    "SMTP_FALLBACK_TLS": "none",
    "TWILIO_API_KEY_SID": "SK" + "b" * 32,
    "GOOGLE_CLIENT_ID": "123-abc.apps.googleusercontent.com",
    "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "pk_test_public",
}
FORGED = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyX3BsYW50ZWQifQ.c2VjcmV0LXNpZ25hdHVyZQ"
COMMANDS = (
    ["check", "--json"],
    ["providers"],
    ["send", "sms", "+55 11 8765-4321", "Oi"],
)


def environment_of(urls: Urls, port: int) -> dict[str, str]:
    """The environment of the run: every secret is a canary, but those of the stores, which are new anyway."""
    given = environment(urls, port) | NEIGHBOURS
    del given["CLERK_PUBLISHABLE_KEY"]
    given |= {
        one.name: canary_value(one) for one in SECRET_SETTINGS if one.name not in given or "://" not in given[one.name]
    }
    # Development tokens are made from the first key.
    given["ENCRYPTION_KEYS"] = f"k1:{ENCRYPTION_KEY},{given['ENCRYPTION_KEYS']}"
    given |= {"NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k", "LOG_LEVEL": "debug"}
    del given[SERVICE_ACCOUNT]
    return given


@dataclass
class Run:
    """What runs, and what was said by it so far."""

    base: str
    environment: dict[str, str]
    control: SimulatorControl
    http: httpx.AsyncClient
    urls: Urls
    processes: list[Process]
    marks: list[Canary]
    said: dict[str, str] = field(default_factory=dict)

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = await self.http.post("/graphql", json={"query": query, "variables": variables})
        self.hear(f"answer to {query[:60]}", f"{answer.headers} {answer.text}")
        return dict(answer.json())

    def hear(self, what: str, text: str) -> None:
        self.said[f"{len(self.said)} {what}"] = text

    async def command(self, *arguments: str, **changes: str) -> None:
        child = await asyncio.create_subprocess_exec(
            *command(*arguments),
            cwd=WORKING_FOLDER,
            env={**self.environment, "PORT": self.base.rpartition(":")[2], **changes},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(child.communicate(), 60)
        assert said, arguments
        self.hear(f"interalpha {' '.join(arguments)}", said.decode())

    def listing(self) -> str:
        """The command lines of every process that can be seen, as `ps` shows them, but the tests' own."""
        lines = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
        return "\n".join(lines)


@pytest.fixture(scope="module")
async def run(stores: SharedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    folder, port = tmp_path_factory.mktemp("planted"), free_port()
    async with stores.database() as urls:
        env = environment_of(urls, port)
        simulators = Process(command("simulators"), env, folder / "simulators.log")
        await simulators.start()
        line = await simulators.first_line()
        announced = json.loads(line)
        env |= {f"{name}_API_BASE": f"{announced['http']}/{name.lower()}" for name in ("TWILIO", "WHATSAPP", "CLERK")}
        env |= {"SMTP_PORT": str(announced["smtp"]), "SMTP_FALLBACK_PORT": str(announced["smtp"])}
        assert load_configuration(env).problems == ()
        api = Process(command("serve", "--port", str(port)), env, folder / "api.log")
        worker = Process(command("worker"), env, folder / "worker.log")
        await asyncio.gather(api.start(), worker.start())
        base, token = f"http://127.0.0.1:{port}", DevelopmentTokens(b"k" * 32).make()
        headers = {"authorization": f"Bearer {token}"}
        try:
            async with (
                SimulatorControl(announced["http"]) as control,
                httpx.AsyncClient(base_url=base, headers=headers, timeout=20, trust_env=False) as http,
            ):
                await until(lambda: readiness(http), lambda status: status == 200, 60)
                # The ends as well: some who log whole frames shorten them in the middle.
                own = [Canary("the caller's own token", part) for part in (token, token[-16:])]
                marks = [*canaries_of(env), *own, *(Canary("a forged token", part) for part in (FORGED, FORGED[-16:]))]
                marks += canaries_of(
                    {SERVICE_ACCOUNT: canary_value(next(one for one in SECRET_SETTINGS if one.name == SERVICE_ACCOUNT))}
                )
                yield Run(base, env, control, http, urls, [api, worker, simulators], marks)
        finally:
            await asyncio.gather(*(one.end() for one in (api, worker, simulators)))


def test_every_secret_is_planted(run: Run) -> None:
    names = {mark.name for mark in run.marks}
    assert {one.name for one in SECRET_SETTINGS} <= names
    assert len({mark.text for mark in run.marks}) >= len(SECRET_SETTINGS)


async def good_days(run: Run) -> None:
    """Messages over every channel to their end, and everything GraphQL knows to tell."""
    sent = []
    for to, content, channel in (
        ({"phone": "+5511987650001"}, {"text": "Oi"}, "SMS"),
        ({"phone": "+5511987650002"}, {"text": "Oi"}, "WHATSAPP"),
        ({"email": "ana@example.com"}, {"email": {"subject": "Oi", "plainText": "Oi"}}, "EMAIL"),
    ):
        message = {"to": to, "content": content, "route": [{"channel": channel}]}
        sent.append((await run.ask(SEND, input=message))["data"]["sendMessage"]["message"]["id"])
    done = "query ($id: ID!) { message(id: $id) { status events(first: 50) { nodes { detail } } } }"
    for id in sent:
        await until(
            lambda id=id: run.ask(done, id=id),  # type: ignore[misc]
            lambda told: told["data"]["message"]["status"] not in ("QUEUED", "SENDING"),
        )
    operations = OperationBuilder(build_schema()._schema)
    assert operations.schema.query_type is not None
    for name, one in operations.schema.query_type.fields.items():
        if not any(argument.type.to_kwargs().get("of_type") for argument in one.args.values() if "!" in str(argument)):
            await run.ask(operations.document("query", name))
    for name in ("live", "ready"):
        run.hear(name, (await run.http.get(f"/health/{name}")).text)
    run.hear("metrics", (await run.http.get("/metrics")).text)
    await run.control.inbound("twilio", sender="+5511987650001", text="Oi")
    session = await run.control.act("clerk", "sign_in", user="user_Ana", lifetime=600)
    run.marks += [Canary("a session", part) for part in (str(session["token"]), str(session["token"])[-16:])]
    answer = await run.http.post(
        "/graphql", json={"query": "{ viewer { scopes } }"}, headers={"authorization": f"Bearer {session['token']}"}
    )
    assert answer.json()["data"]["viewer"], answer.text
    run.hear("session", answer.text)


async def bad_days(run: Run) -> None:
    """Whatever is refused, forged or broken."""
    for path, headers in (
        ("/graphql", {"authorization": f"Bearer {FORGED}"}),
        ("/graphql", {"authorization": f"Basic {FORGED}"}),
        ("/metrics", {"authorization": f"Bearer {FORGED}"}),
        (f"/nowhere/{FORGED}?token={FORGED}", {"cookie": f"__session={FORGED}"}),
    ):
        answer = await run.http.post(path, content=b"{", headers=headers)
        answer = answer if path != "/metrics" else await run.http.get(path, headers=headers)
        assert answer.status_code >= 400
        run.hear(path[:9], f"{answer.headers} {answer.text}")
    for name in ("twilio", "whatsapp", "clerk", "smtp"):
        answer = await run.http.post(f"/webhooks/{name}", content=b"a=b", headers={"x-twilio-signature": "x"})
        run.hear(f"webhook {name}", answer.text)
    async with connect(
        run.base.replace("http", "ws") + f"/graphql?token={FORGED}", subprotocols=["graphql-transport-ws"]
    ) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {FORGED}"}}))
        await socket.wait_closed()
        run.hear("socket", f"{socket.close_code} {socket.close_reason}")
    for name in ("twilio", "whatsapp"):
        for kind in ("server_error", "garbage", "reset"):
            await run.control.arm(name, kind, next=1)
    for number in range(4):
        for channel in ("SMS", "WHATSAPP"):
            to = {"phone": f"+5511987651{number}0{len(channel)}"}
            await run.ask(SEND, input={"to": to, "content": {"text": "Oi"}, "route": [{"channel": channel}]})
    await until(lambda: run.control.state("twilio"), lambda state: all(one["spent"] for one in state["faults"]), 15)


async def broken(run: Run) -> None:
    """An unexpected error, with its traceback."""
    owner = await asyncpg.connect(run.urls.direct)
    await owner.execute("UPDATE templates SET channel = 'PIGEON'")
    await owner.close()
    told = await run.ask("{ templates(first: 1) { nodes { id } } }")
    assert told["errors"][0]["extensions"]["code"] == "INTERNAL"


async def test_secrets_are_nowhere_in_what_a_whole_run_says(run: Run) -> None:
    account = {
        **dict.fromkeys(OAUTH_SETTINGS, ""),
        SERVICE_ACCOUNT: canary_value(next(one for one in SECRET_SETTINGS if one.name == SERVICE_ACCOUNT)),
    }
    wrong = {"TWILIO_AUTH_TOKEN": run.environment["TWILIO_AUTH_TOKEN"] + "!", "APP_ENV": "production"}
    commands = asyncio.gather(
        *(run.command(*one) for one in COMMANDS),
        run.command("check", **account),
        run.command("serve", **wrong),
        run.command("worker", REDIS_URL=run.environment["REDIS_URL"] + "#x", **account),
    )
    await good_days(run)
    await bad_days(run)
    run.hear("process listing", run.listing())
    await commands
    await broken(run)
    await asyncio.gather(*(one.end() for one in run.processes))
    logs = {one.log.name: one.log.read_text() for one in run.processes}
    # Otherwise nothing would have been searched.
    assert "Traceback" in logs["api.log"]
    assert "session_refused" in logs["api.log"]
    assert "interalpha serve" in " ".join(run.said.values())
    assert canaries_found({**run.said, **logs}, run.marks) == []


async def test_a_secret_that_shows_would_be_found(run: Run) -> None:
    for mark in run.marks:
        for spelling in mark.spellings:
            assert canaries_found({"log": f"before {spelling} after"}, [mark])
