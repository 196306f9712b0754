"""nginx with `deploy/nginx.conf` in front of a running server."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.databases import SharedStores
from tests.helpers import until
from tests.house.sources import ROOT
from tests.running_system import SEND, System, running_system
from tests.servers import free_port

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None and "CI" not in os.environ, reason="nginx is not installed")

LIMIT = 4 * 1024 * 1024
STREAM = "subscription { messageStatusChanged { event { status } message { id } } }"


@dataclass
class Behind:
    """A running system and the nginx in front of it."""

    system: System
    address: str
    trust: ssl.SSLContext
    log: Path

    def client(self, **options: Any) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.system.token}"}
        return httpx.AsyncClient(base_url=self.address, verify=self.trust, headers=headers, timeout=20, **options)


def certificate(folder: Path) -> tuple[Path, Path]:
    made, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subject = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(made)]
    subprocess.run([*command.split(), *subject], check=True, capture_output=True)
    return made, key


def configured(folder: Path, upstream: int, port: int, plain: int) -> Path:
    """Write a configuration with the committed file, and the ports and certificate of the test."""
    made, key = certificate(folder)
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    changes = {
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "server_name api.example.com;": "server_name localhost;",
        "/etc/letsencrypt/live/api.example.com/fullchain.pem": str(made),
        "/etc/letsencrypt/live/api.example.com/privkey.pem": str(key),
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{text}}}\n"
    )
    folder.chmod(0o755)
    return file


@pytest.fixture(scope="module")
async def behind(stores: SharedStores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    folder, port, plain = tmp_path_factory.mktemp("nginx"), free_port(), free_port()
    async with running_system(stores, folder, TRUSTED_PROXIES="127.0.0.1", ADDRESS_BUDGET="60") as system:
        file = configured(folder, int(system.base.rpartition(":")[2]), port, plain)
        nginx = await asyncio.create_subprocess_exec(
            str(NGINX), "-c", str(file), "-p", str(folder), stderr=subprocess.PIPE
        )
        trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        try:
            found = Behind(system, f"https://localhost:{port}", trust, folder / "error.log")

            async def answers() -> bool:
                async with found.client() as client:
                    try:
                        return (await client.get("/health/live")).status_code == 200
                    except httpx.TransportError:
                        return False

            await until(answers, bool, 20)
            yield found
        finally:
            nginx.terminate()
            await nginx.wait()


async def send(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    message = {"to": {"phone": "+5511987650001"}, "content": {"text": "Oi"}, "route": [{"channel": "SMS"}], **more}
    return await client.post("/graphql", json={"query": SEND, "variables": {"input": message}})


async def test_queries_and_mutations_pass_over_http_1_and_2(behind: Behind) -> None:
    async with behind.client() as client:
        answer = await client.post("/graphql", json={"query": "{ __typename }"})
        assert (answer.status_code, answer.json()) == (200, {"data": {"__typename": "Query"}})
        sent = (await send(client)).json()["data"]["sendMessage"]
        assert sent["errors"] == []
    command = [
        "curl",
        "-s",
        "-k",
        "--http2",
        "-o",
        os.devnull,
        "-w",
        "%{http_version}",
        f"{behind.address}/health/live",
    ]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "2"


async def test_websockets_pass(behind: Behind) -> None:
    url = behind.address.replace("https", "wss") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"], ssl=behind.trust) as socket:  # type: ignore[list-item]
        init = {"type": "connection_init", "payload": {"Authorization": f"Bearer {behind.system.token}"}}
        await socket.send(json.dumps(init))
        assert json.loads(await asyncio.wait_for(socket.recv(), 10))["type"] == "connection_ack"
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": STREAM}}))
        async with behind.client() as client:
            await send(client)
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
        assert (frame["type"], frame["id"]) == ("next", "1")


async def test_server_sent_events_are_not_buffered(behind: Behind) -> None:
    async with behind.client() as client:
        body, accept = {"query": STREAM}, {"accept": "text/event-stream"}
        async with client.stream("POST", "/graphql", json=body, headers=accept) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.aiter_lines()
            # The first bytes of the stream arrive before the first event.
            assert await asyncio.wait_for(anext(lines), 5) == ":"
            await send(client)

            async with asyncio.timeout(10):
                async for line in lines:
                    if line.startswith("data: "):
                        assert "messageStatusChanged" in line
                        break


async def test_bodies_have_the_same_limit_and_the_same_error_on_both_sides(behind: Behind) -> None:
    async with behind.client() as client:
        query = '{"query":"{ __typename }","pad":"%s"}'
        fits = (query % ("x" * (LIMIT - len(query) + 2))).encode()
        assert len(fits) == LIMIT
        headers = {"content-type": "application/json"}
        # The body reaches the server, so nginx did not refuse it as too large.
        assert (await client.post("/graphql", content=fits, headers=headers)).status_code != 413
        for path in ("/graphql", "/webhooks/twilio"):
            refused = await client.post(path, content=fits + b" ", headers=headers)
            assert refused.status_code == 413
            assert refused.headers["content-type"].startswith("application/json")
            [error] = refused.json()["errors"]
            assert error["extensions"]["code"] == "PAYLOAD_TOO_LARGE"
            assert str(LIMIT) in error["message"]
    async with httpx.AsyncClient(base_url=behind.system.base, timeout=20) as direct:
        token = {"authorization": f"Bearer {behind.system.token}"}
        theirs = await direct.post("/graphql", content=fits + b" ", headers=headers | token)
    assert (theirs.status_code, theirs.json()["errors"][0]["message"]) == (413, error["message"])


async def test_each_client_address_has_its_own_limit(behind: Behind) -> None:
    async def statuses(address: str, count: int) -> list[int]:
        transport = httpx.AsyncHTTPTransport(local_address=address, verify=behind.trust)
        async with httpx.AsyncClient(transport=transport, base_url=behind.address, timeout=20) as client:
            # Addresses that a client writes itself are further left and do not count.
            headers = [{"x-forwarded-for": f"198.51.100.{number}"} for number in range(count)]
            query = {"query": "{ viewer { scopes } }"}
            return [(await client.post("/graphql", json=query, headers=one)).status_code for one in headers]

    assert 429 in await statuses("127.0.0.2", 80)
    assert await statuses("127.0.0.3", 1) == [200]


async def test_an_unavailable_server_is_reported(behind: Behind, tmp_path: Path) -> None:
    port, plain = free_port(), free_port()
    file = configured(tmp_path, free_port(), port, plain)
    nginx = await asyncio.create_subprocess_exec(str(NGINX), "-c", str(file), "-p", str(tmp_path))
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    try:
        async with httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=trust) as client:

            async def asked() -> httpx.Response | None:
                try:
                    return await client.post("/graphql", json={"query": "{ __typename }"})
                except httpx.TransportError:
                    return None

            answer = await until(asked, lambda one: one is not None, 20)
            assert answer is not None
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["errors"][0]["extensions"]["code"] == "TRY_AGAIN"
    finally:
        nginx.terminate()
        await nginx.wait()
