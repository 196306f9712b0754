"""A noun and a provider in folders of their own take part in everything, and no other file knows of them."""

import asyncio
import hashlib
import hmac
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from websockets.asyncio.client import connect

from core.ports.identity import DEFAULT_TENANT
from core.sealing import Sealer
from resolvers.global_ids import from_global_id
from tests.extension import with_toy
from tests.extension.conftest import SECRET
from tests.helpers import until
from tests.running_system import System, phone
from tests.servers import free_port

__all__ = ["phone"]


@pytest.fixture
async def owner(system: System) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(system.urls.superuser)
    yield connection
    await connection.close()


async def add_parcel(owner: asyncpg.Connection, recipient: str | None = "+5511987654321") -> UUID:
    parcel, sealer = uuid4(), Sealer({"k1": b"k" * 32})
    sealed = hashed = None
    if recipient is not None:
        sealed = sealer.seal(recipient, tenant=DEFAULT_TENANT, row=parcel, column="recipient")
        hashed = sealer.lookup_hash(recipient, tenant=DEFAULT_TENANT)
    await owner.execute(
        "INSERT INTO parcels (tenant_id, id, status, recipient_sealed, recipient_hash) VALUES ($1, $2, $3, $4, $5)",
        DEFAULT_TENANT,
        parcel,
        "SHIPPED" if recipient else "WAITING",
        sealed,
        hashed,
    )
    return parcel


async def report(system: System, parcel: UUID | None, status: str, **more: Any) -> int:
    reference = f"{DEFAULT_TENANT}.{parcel}" if parcel else ""
    body = json.dumps({"id": str(uuid4()), "status": status, "reference": reference, **more}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-parcelpost-signature": signature}
    return (await system.http.post("/webhooks/parcelpost", content=body, headers=headers)).status_code


async def status_of(owner: asyncpg.Connection, parcel: UUID) -> str:
    return str(await owner.fetchval("SELECT status FROM parcels WHERE id = $1", parcel))


async def inbox_of(owner: asyncpg.Connection, parcel: UUID) -> list[tuple[Any, ...]]:
    rows = await owner.fetch("SELECT status, subject_kind, error FROM inbox WHERE message_id = $1", parcel)
    return [tuple(row) for row in rows]


async def test_its_event_is_applied_once_and_refers_to_its_object(system: System, owner: asyncpg.Connection) -> None:
    parcel = await add_parcel(owner)
    assert await report(system, parcel, "DELIVERED") == 204
    await until(lambda: status_of(owner, parcel), lambda status: status == "DELIVERED")
    await until(lambda: inbox_of(owner, parcel), lambda rows: rows == [("PROCESSED", "Parcel", None)])


async def test_a_forged_webhook_of_its_provider_is_refused(system: System, owner: asyncpg.Connection) -> None:
    headers = {"x-parcelpost-signature": "0" * 64}
    answer = await system.http.post("/webhooks/parcelpost", content=b"{}", headers=headers)
    assert answer.status_code == 401


async def test_its_worker_and_its_dead_letters(system: System, owner: asyncpg.Connection) -> None:
    parcel = await add_parcel(owner, recipient=None)
    listed = "query($f: DeadLetterFilter) { deadLetters(filter: $f) { nodes { id kind error resolution } } }"

    async def letters(**condition: Any) -> list[dict[str, Any]]:
        found = await system.ask(listed, f={"kinds": ["parcel.ship"], **condition})
        return list(found["deadLetters"]["nodes"])

    [letter] = await until(letters, bool)
    assert (letter["error"], letter["resolution"]) == ("It has no recipient.", None)
    assert await status_of(owner, parcel) == "FAILED"
    requeue = "mutation($i: RequeueDeadLettersInput!) { requeueDeadLetters(input: $i) { errors { __typename } } }"
    done = await system.ask(requeue, i={"ids": [letter["id"]]})
    assert done["requeueDeadLetters"]["errors"] == []
    # Its worker takes it up again; it still has no recipient, so a second letter is written.
    closed = await until(lambda: letters(isResolved=True), bool)
    assert closed[0]["resolution"] == "REQUEUED"
    await until(letters, lambda found: [one["id"] for one in found] not in ([], [letter["id"]]))


async def test_a_handler_that_fails_or_forgets_an_event_parks_it_and_loses_nothing(
    system: System, owner: asyncpg.Connection
) -> None:
    # Ten tries take a quarter of an hour; nine are behind these.
    parcel = await add_parcel(owner)
    for status in ("BROKEN", "FORGOTTEN"):
        assert await report(system, parcel, status) == 204
    await report(system, parcel, "DELIVERED")
    await until(lambda: status_of(owner, parcel), lambda status: status == "DELIVERED")
    await until(lambda: inbox_of(owner, parcel), lambda rows: len([1 for row in rows if row[2]]) == 2)
    await owner.execute("UPDATE inbox SET attempts = 9, due_at = now() WHERE status = 'RECEIVED'")
    await until(lambda: inbox_of(owner, parcel), lambda rows: sum(row[0] == "FAILED" for row in rows) == 2)
    found = await owner.fetch(
        "SELECT error FROM dead_letters WHERE kind = 'webhook.apply' AND subject_kind = 'Parcel' AND message_id = $1",
        parcel,
    )
    assert sorted(row["error"] for row in found) == ["cannot be applied: NoOutcome", "cannot be applied: ValueError"]


async def test_an_event_without_our_reference_goes_to_the_owner_of_the_resource(
    system: System, owner: asyncpg.Connection
) -> None:
    tenant = uuid4()
    await owner.execute(
        "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, 'santos', 'Loja', 'UTC', 'BRL')",
        tenant,
    )
    await owner.execute(
        "UPDATE senders SET tenant_id = $1 WHERE integration = 'parcelpost' AND address = 'SANTOS'", tenant
    )
    assert await report(system, None, "ARRIVED", depot="SANTOS") == 204

    async def found() -> list[str]:
        rows = await owner.fetch("SELECT status FROM inbox WHERE tenant_id = $1", tenant)
        return [row["status"] for row in rows]

    await until(found, lambda statuses: statuses == ["IGNORED"])


async def test_its_type_is_a_node_a_subject_and_a_field_of_messages(
    system: System, owner: asyncpg.Connection, phone: str
) -> None:
    parcel, message = await add_parcel(owner), await system.sms(phone)
    await owner.execute("UPDATE parcels SET message_id = $2 WHERE id = $1", parcel, UUID(bytes=key_of(message)))
    shown = await system.ask("query($id: ID!) { message(id: $id) { parcels { id status } } parcelCount }", id=message)
    [found] = shown["message"]["parcels"]
    assert found["status"] == "SHIPPED"
    assert shown["parcelCount"] >= 1
    node = await system.ask("query($id: ID!) { node(id: $id) { __typename id } }", id=found["id"])
    assert node["node"] == {"__typename": "Parcel", "id": found["id"]}
    await report(system, parcel, "DELIVERED")
    listed = (
        "query($f: WebhookDeliveryFilter) { webhookDeliveries(filter: $f) "
        "{ nodes { integration { kind name } subject { __typename ... on Parcel { id status } } } } }"
    )

    async def webhooks() -> list[dict[str, Any]]:
        return list((await system.ask(listed, f={"subjectId": found["id"]}))["webhookDeliveries"]["nodes"])

    about = {"__typename": "Parcel", "id": found["id"], "status": "DELIVERED"}
    kind = {"kind": "PARCELPOST", "name": "Parcel Post"}
    await until(webhooks, lambda nodes: nodes == [{"integration": kind, "subject": about}])


async def test_its_changes_are_followed_by_subscription(system: System, owner: asyncpg.Connection) -> None:
    parcel = await add_parcel(owner)
    url = system.base.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        opening = {"type": "connection_init", "payload": {"Authorization": f"Bearer {system.token}"}}
        await socket.send(json.dumps(opening))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        query = "subscription { parcelMoved { parcelId status } }"
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}))
        told = asyncio.create_task(hear(socket, parcel))
        # The subscription may begin a moment later; another report is another change.
        while not told.done():
            await report(system, parcel, "DELIVERED")
            await asyncio.wait([told], timeout=0.5)
        assert await told == "DELIVERED"


async def hear(socket: Any, parcel: UUID) -> str:
    while True:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 10))
        moved = frame["payload"]["data"]["parcelMoved"]
        if key_of(moved["parcelId"]) == parcel.bytes:
            return str(moved["status"])


def key_of(global_id: str) -> bytes:
    named = from_global_id(global_id)
    assert named is not None
    return named[1]


async def test_its_objects_are_erased_with_the_person_and_no_other(system: System, owner: asyncpg.Connection) -> None:
    mine, other = await add_parcel(owner, "+5511955554444"), await add_parcel(owner, "+5511955553333")
    assert await report(system, mine, "DELIVERED", carrier="by bicycle") == 204
    await until(lambda: inbox_of(owner, mine), lambda rows: rows == [("PROCESSED", "Parcel", None)])
    erase = "mutation($i: EraseRecipientInput!) { eraseRecipient(input: $i) { erasure { id } } }"
    await system.ask(erase, i={"recipient": {"phone": "+5511955554444"}})

    async def finished() -> list[dict[str, Any]]:
        rows = await owner.fetch("SELECT other_objects, webhooks FROM erasures WHERE finished_at IS NOT NULL")
        return [dict(row) for row in rows]

    assert await until(finished, bool) == [{"other_objects": '{"Parcel": 1}', "webhooks": 1}]
    kept = await owner.fetch(
        "SELECT id FROM parcels WHERE recipient_sealed IS NOT NULL AND id = ANY($1)", [mine, other]
    )
    assert [row["id"] for row in kept] == [other]
    assert await owner.fetchval("SELECT raw_sealed FROM inbox WHERE message_id = $1", mine) is None


async def test_its_provider_has_health_response_times_and_problems(system: System) -> None:
    asked = """{
      integrations(kinds: [PARCELPOST]) { health { status } latency { requestCount errorRate } }
      problems(filter: {integrations: [PARCELPOST]}) { nodes { code title advice } }
    }"""

    async def shown() -> dict[str, Any]:
        return await system.ask(asked)

    found = await until(shown, lambda one: one["integrations"][0]["latency"]["requestCount"], 20)
    assert found["integrations"][0]["health"] == {"status": "HEALTHY"}
    assert found["integrations"][0]["latency"]["errorRate"] == 0
    [problem] = (await until(shown, lambda one: one["problems"]["nodes"]))["problems"]["nodes"]
    assert (problem["code"], problem["advice"]) == ("PARCELPOST_DEPOT_CLOSED", "Open the depot.")


def run_program(environment: dict[str, str], *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, with_toy.__file__, *arguments]
    return subprocess.run(program, env=environment | more, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
async def test_its_command_is_one_file(system: System) -> None:
    assert "Say how many parcels there are." in run_program(system.environment, "--help").stdout
    assert run_program(system.environment, "parcels").stdout == "There are no parcels here.\n"


@pytest.mark.slow
async def test_a_provider_whose_events_no_noun_understands_is_refused_at_start_up(system: System) -> None:
    for command in (["serve", "--port", str(free_port())], ["worker"]):
        refused = run_program(system.environment, *command, TOY_WITHOUT="core resolvers")
        assert refused.returncode != 0
        assert "parcelpost reports events of the class ParcelMoved: no noun understands it." in refused.stderr
        assert "Traceback" not in refused.stderr


async def counts_of_parcels(system: System) -> dict[str, int]:
    program = [sys.executable, "-m", "tests.extension.count_parcels", system.urls.worker]
    child = await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE)
    printed, _ = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 0
    return dict(json.loads(printed))


async def test_its_events_are_counted(system: System, owner: asyncpg.Connection) -> None:
    before, parcel = await counts_of_parcels(system), await add_parcel(owner)
    assert await report(system, parcel, "WEIGHED") == 204
    await until(lambda: status_of(owner, parcel), lambda status: status == "WEIGHED")
    after = await counts_of_parcels(system)
    assert after["WEIGHED"] == before.get("WEIGHED", 0) + 1
