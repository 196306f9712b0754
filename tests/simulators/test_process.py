"""The process: where it runs, how it ends, who may control it."""

import asyncio
import json

import httpx
import pytest

from integrations.simulating.client import SimulatorRefused
from tests.helpers import until
from tests.servers import Simulators, start_simulators


async def test_it_refuses_to_run_in_production() -> None:
    child = await start_simulators(APP_ENV="production")
    async with asyncio.timeout(10):
        said, errors = await child.communicate()
    assert (child.returncode, said) == (2, b"")
    assert b"APP_ENV=production" in errors


async def test_a_port_that_is_taken_is_named_without_a_traceback(simulators: Simulators) -> None:
    child = await start_simulators(SIMULATORS_PORT=simulators.announced["http"].rpartition(":")[2])
    async with asyncio.timeout(10):
        _, errors = await child.communicate()
    assert child.returncode == 2
    assert b"SIMULATORS_PORT" in errors
    assert b"Traceback" not in errors


async def test_it_ends_quietly_even_while_a_client_waits() -> None:
    child = await start_simulators()
    assert child.stdout is not None
    async with asyncio.timeout(10):
        announced = json.loads(await child.stdout.readline())
    async with httpx.AsyncClient(base_url=announced["http"], trust_env=False, timeout=5) as client:
        await client.post("/sim/api/twilio/faults", json={"kind": "timeout", "always": True, "at": "list"})
        path = "/twilio/2010-04-01/Accounts/AC/Messages.json"
        waiting = asyncio.ensure_future(client.get(path))
        _, talking = await asyncio.open_connection("127.0.0.1", announced["smtp"])
        await until(
            lambda: client.get("/sim/api/twilio/faults"), lambda answer: answer.json()["faults"][0]["struck"] == 1
        )
        child.terminate()
        async with asyncio.timeout(5):
            _, errors = await child.communicate()
        talking.close()
        with pytest.raises(httpx.HTTPError):
            await waiting
    assert (child.returncode, errors.decode()) == (0, "")


async def test_it_says_where_everything_listens(simulators: Simulators) -> None:
    everything = await simulators.control.everything()
    assert {key: everything[key] for key in simulators.announced} == simulators.announced
    assert [provider["name"] for provider in everything["simulators"]] == ["clerk", "smtp", "twilio", "whatsapp"]


async def test_the_control_api_answers_to_loopback_names_only(simulators: Simulators) -> None:
    async with httpx.AsyncClient(base_url=simulators.announced["http"], trust_env=False) as client:
        answer = await client.post("/sim/api/reset", headers={"Host": "evil.example.com"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nobody", None, 404),
        ("GET", "/twilio/messages/SM0", None, 404),
        ("GET", "/twilio/messages?since=yesterday", None, 400),
        ("GET", "/journal?verdict=lovely", None, 400),
        ("POST", "/twilio/faults", b"{", 400),
        ("POST", "/twilio/faults", b"[]", 400),
        ("PUT", "/twilio/webhooks", b'{"copies": 0}', 400),
        ("PUT", "/twilio/webhooks", b'{"delays": [-1]}', 400),
        ("POST", "/twilio/inbound", b'{"sender": "nobody", "text": "x"}', 400),
        ("POST", "/smtp/inbound", b"{}", 400),
        ("POST", "/twilio/messages/SM0/report", b'{"status": "delivered"}', 400),
        ("POST", "/twilio/webhooks/none/redeliver", b"", 404),
        ("DELETE", "/twilio/faults/none", None, 404),
        ("POST", "/journal", None, 405),
    ],
)
async def test_bad_control_input_is_answered_in_json(
    simulators: Simulators, method: str, path: str, body: bytes | None, status: int
) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{simulators.announced['http']}/sim/api{path}"
        answer = await client.request(method, url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


async def test_a_simulator_that_is_not_there_is_refused(simulators: Simulators) -> None:
    with pytest.raises(SimulatorRefused):
        await simulators.control.state("pigeon")
