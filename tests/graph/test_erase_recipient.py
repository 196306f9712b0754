"""eraseRecipient: the request to erase a person, and what is shown afterwards."""

from dataclasses import replace
from typing import Any

import pytest

from core.database import Database, make_engine
from core.ports.identity import Principal, Scope
from core.privacy.erase import run_erasure_step
from tests.contributed import PERSONAL_DATA
from tests.databases import Urls
from tests.graph.callers import Caller, NewCaller
from tests.graph.factories import PHONE, RecordFactory, global_id

ERASE = """mutation ($recipient: RecipientInput!) { eraseRecipient(input: {recipient: $recipient}) {
  erasure { id messages canceled webhooks names requestedAt finishedAt }
  errors { message path rule } } }"""
HOW_FAR = "query ($id: ID!) { node(id: $id) { ... on Erasure { messages canceled finishedAt } } }"
SEND = """mutation ($to: RecipientInput!) { sendMessage(input: {
  to: $to, content: {text: "jabuticaba"}, route: [{channel: SMS}]}) { message { id } } }"""
SHOW = """query ($id: ID!) { message(id: $id) {
  status erasedAt toMasked to canRetry canCancel content { __typename }
  events(first: 9) { nodes { status } } } }"""
ATTEMPTS = "query ($id: ID!) { message(id: $id) { attempts { providerMessageId } } }"
WAMID = "wamid.HBgNNTUxMTk4NzY1MDEyMxUCABEYEkExQjJDM0Q0RTVGNkExQjJDMwA="


async def ask(caller: Caller, **recipient: str) -> dict[str, Any]:
    return dict((await caller.ask(ERASE, recipient=recipient))["eraseRecipient"])


async def test_it_is_followed_until_it_is_done_and_then_null_is_what_is_left(caller: Caller, graph_urls: Urls) -> None:
    sent = (await caller.ask(SEND, to={"phone": PHONE}))["sendMessage"]["message"]["id"]
    payload = await ask(caller, phone=PHONE)
    assert (payload["errors"], payload["erasure"]["finishedAt"]) == ([], None)
    worker = Database(make_engine(graph_urls.worker))
    try:
        while await run_erasure_step(worker, caller.application.sealer, caller.application.hub, PERSONAL_DATA):
            pass
    finally:
        await worker.close()
    done = (await caller.ask(HOW_FAR, id=payload["erasure"]["id"]))["node"]
    assert (done["messages"], done["canceled"], done["finishedAt"] is None) == (1, 1, False)
    shown = (await caller.ask(SHOW, id=sent))["message"]
    assert shown.pop("erasedAt") is not None
    assert shown == {
        "status": "CANCELED",
        "toMasked": "••••",
        "to": None,
        "canRetry": False,
        "canCancel": False,
        "content": None,
        "events": {"nodes": [{"status": "QUEUED"}, {"status": "CANCELED"}]},
    }


async def test_asking_twice_is_the_same_erasure(caller: Caller) -> None:
    first, second = [await ask(caller, phone=PHONE) for _ in range(2)]
    assert first["erasure"]["id"] == second["erasure"]["id"]


@pytest.mark.parametrize(
    ("recipient", "path"),
    [({"phone": "11 98765"}, "phone"), ({"email": "ana"}, "email"), ({"whatsappUserId": "ana"}, "whatsappUserId")],
)
async def test_what_is_no_address_is_said_with_its_place(caller: Caller, recipient: dict[str, str], path: str) -> None:
    payload = await ask(caller, **recipient)
    assert payload["erasure"] is None
    assert [error["path"] for error in payload["errors"]] == [["input", "recipient", path]]


async def test_it_needs_a_right(new_caller: NewCaller) -> None:
    caller = await new_caller(frozenset({Scope.MESSAGES_SEND, Scope.OPERATIONS_READ, Scope.CONTACTS_READ}))
    assert await caller.code(ERASE, recipient={"phone": PHONE}) == "FORBIDDEN"


async def test_another_tenants_erasure_is_none(caller: Caller, stranger: Caller) -> None:
    id = (await ask(caller, phone=PHONE))["erasure"]["id"]
    assert (await stranger.ask(HOW_FAR, id=id))["node"] is None


async def test_an_id_that_spells_the_number_is_masked_without_the_right_to_see_it(
    caller: Caller, factory: RecordFactory
) -> None:
    message = await factory.message(caller, attempts=1)
    sealed = factory.sealer.seal(WAMID, tenant=caller.tenant, row=message, column="provider_id 1")
    await factory.owner.execute("UPDATE attempts SET provider_id_sealed = $1 WHERE message_id = $2", sealed, message)
    [seen] = (await caller.ask(ATTEMPTS, id=global_id(message)))["message"]["attempts"]
    assert seen["providerMessageId"] == WAMID
    clerk = Caller(caller.application, caller.engine, _with(caller, Scope.MESSAGES_READ))
    [seen] = (await clerk.ask(ATTEMPTS, id=global_id(message)))["message"]["attempts"]
    assert seen["providerMessageId"].startswith("wamid.••••")


async def test_neither_id_nor_payload_of_a_webhook_spells_the_number(caller: Caller, factory: RecordFactory) -> None:
    raw = f'{{"statuses":[{{"id":"{WAMID}","status":"delivered"}}]}}'
    webhook = await factory.webhook(caller, integration="whatsapp", raw=raw)
    await factory.owner.execute("UPDATE inbox SET dedupe_key = $1 WHERE id = $2", f"{WAMID}:delivered", webhook)
    document = "query { webhookDeliveries(first: 1) { nodes { providerEventId payload } } }"
    [seen] = (await caller.ask(document))["webhookDeliveries"]["nodes"]
    assert seen["providerEventId"].startswith("wamid.••••")
    assert seen["payload"] == {"statuses": [{"id": "••••", "status": "delivered"}]}


def _with(caller: Caller, *scopes: Scope) -> Principal:
    assert caller.principal is not None
    return replace(caller.principal, scopes=frozenset(scopes))
