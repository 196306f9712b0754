"""A user signs in with Clerk, and reads and changes the data of their organisation only."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.helpers import until
from tests.running_system import SEND, SHOW, WATCH, System

VIEWER = "{ viewer { user { id name email } organization { id name } scopes expiresAt } }"
LIST = "{ messages(first: 100) { nodes { id } } }"
NODE = "query ($id: ID!) { node(id: $id) { id } }"


async def act(system: System, action: str, **order: Any) -> dict[str, Any]:
    return await system.control.act("clerk", action, **order)


async def sign_in(system: System, user: str = "user_Ana", **order: Any) -> str:
    return str((await act(system, "sign_in", user=user, lifetime=600, **order))["token"])


async def ask(system: System, token: str, query: str, **variables: Any) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {token}"}
    body = {"query": query, "variables": variables}
    answer = await system.http.post("/graphql", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert "errors" not in found, found
    return dict(found["data"])


async def business(system: System, name: str, **order: Any) -> dict[str, Any]:
    """Create an organisation with one administrator; webhooks report it unless `tell` is false."""
    organization = await act(system, "organization", name=name, **order)
    user = await act(system, "user", first_name=name, last_name="Souza", email=f"{name}@example.com".lower(), **order)
    pair = {"user": user["id"], "organization": organization["id"]}
    await act(system, "member", role="org:admin", **pair, **order)
    return pair


def sms(phone: str, **more: Any) -> dict[str, Any]:
    return {"to": {"phone": phone}, "content": {"text": "Oi"}, "route": [{"channel": "SMS"}], **more}


async def test_a_user_has_a_name_once_clerk_has_sent_it(system: System) -> None:
    who = await business(system, "Padaria")
    token = await sign_in(system, **who)
    viewer = await until(
        lambda: ask(system, token, VIEWER), lambda found: found["viewer"]["organization"]["name"] == "Padaria"
    )
    viewer = await until(lambda: ask(system, token, VIEWER), lambda found: found["viewer"]["user"]["name"] is not None)
    assert viewer["viewer"]["user"]["name"] == "Padaria Souza"
    assert viewer["viewer"]["user"]["email"] == "padaria@example.com"
    assert "MESSAGES_SEND" in viewer["viewer"]["scopes"]


async def test_the_first_call_may_come_before_every_webhook(system: System, phone: str) -> None:
    who = await business(system, "Quitanda", tell=False)
    token = await sign_in(system, **who)
    before = (await ask(system, token, VIEWER))["viewer"]
    assert (before["organization"]["name"], before["user"]["name"]) == (who["organization"], None)
    sent = (await ask(system, token, SEND, input=sms(phone)))["sendMessage"]
    assert sent["errors"] == []
    await act(system, "organization", id=who["organization"], name="Quitanda da Bia")
    after = await until(
        lambda: ask(system, token, VIEWER), lambda found: found["viewer"]["organization"]["name"] == "Quitanda da Bia"
    )
    assert after["viewer"]["organization"]["id"] == before["organization"]["id"]
    assert [one["id"] for one in (await ask(system, token, LIST))["messages"]["nodes"]] == [sent["message"]["id"]]


async def test_another_organisations_data_is_invisible(system: System, phone: str) -> None:
    ours, theirs = await business(system, "Nossa"), await business(system, "Deles")
    token, stranger = await sign_in(system, **ours), await sign_in(system, **theirs)
    given = sms(phone, idempotencyKey="order-1042")
    message_id = (await ask(system, token, SEND, input=given))["sendMessage"]["message"]["id"]
    organization = (await ask(system, token, VIEWER))["viewer"]["organization"]["id"]
    user = (await ask(system, token, VIEWER))["viewer"]["user"]["id"]
    assert (await ask(system, stranger, SHOW, id=message_id))["message"] is None
    assert (await ask(system, stranger, LIST))["messages"]["nodes"] == []
    for one in (message_id, organization, user):
        assert (await ask(system, stranger, NODE, id=one))["node"] is None
        assert (await ask(system, token, NODE, id=one))["node"] == {"id": one}
    # The same idempotency key is another key in the other organisation.
    again = (await ask(system, stranger, SEND, input=given))["sendMessage"]
    assert (again["isReplay"], again["message"]["id"] == message_id) == (False, False)
    # The default tenant of development tokens sees nothing of it.
    assert (await system.ask(NODE, id=message_id))["node"] is None


async def test_one_person_sees_the_organisation_they_have_chosen(system: System, phone: str) -> None:
    first, second = await business(system, "Primeira"), await business(system, "Segunda")
    await act(system, "member", user=first["user"], organization=second["organization"], role="org:member")
    here, there = [await sign_in(system, first["user"], organization=one["organization"]) for one in (first, second)]
    message_id = (await ask(system, here, SEND, input=sms(phone)))["sendMessage"]["message"]["id"]
    assert (await ask(system, there, NODE, id=message_id))["node"] is None
    viewers = [(await ask(system, token, VIEWER))["viewer"] for token in (here, there)]
    assert viewers[0]["user"]["id"] == viewers[1]["user"]["id"]
    assert viewers[0]["organization"] != viewers[1]["organization"]
    assert (len(viewers[0]["scopes"]) > 2, viewers[1]["scopes"]) == (True, ["MESSAGES_READ", "MESSAGES_SEND"])


async def test_a_clerk_permission_allows_its_action_and_no_other(system: System, phone: str) -> None:
    who = await business(system, "Farmácia")
    permissions = ["org:messages:send"]
    await act(system, "member", **who, role="org:counter", permissions=permissions)
    token = await sign_in(system, **who)
    assert (await ask(system, token, VIEWER))["viewer"]["scopes"] == ["MESSAGES_SEND"]
    headers = {"authorization": f"Bearer {token}"}
    answer = await system.http.post("/graphql", json={"query": LIST}, headers=headers)
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_without_an_organisation_development_uses_the_default_tenant(system: System) -> None:
    alone = await sign_in(system, personal=True)
    ours = (await system.ask(VIEWER))["viewer"]["organization"]
    assert (await ask(system, alone, VIEWER))["viewer"]["organization"] == ours


@pytest.mark.parametrize("order", [{"pending": True}, {"lifetime": -60}])
async def test_an_invalid_session_is_refused(system: System, order: dict[str, Any]) -> None:
    token = (await act(system, "sign_in", **order))["token"]
    answer = await system.http.post("/graphql", json={"query": VIEWER}, headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert token not in system.api.log.read_text()


async def test_a_socket_is_opened_with_a_sessions_token(system: System) -> None:
    token = await sign_in(system)
    url = system.base.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"]) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": VIEWER}}))
        frame = json.loads(await socket.recv())
    assert frame["payload"]["data"]["viewer"]["organization"]["id"]


async def test_a_cookie_alone_opens_no_socket_to_data(system: System) -> None:
    token = await sign_in(system, origin=system.base)
    url = system.base.replace("http", "ws") + "/graphql"
    cookie = {"cookie": f"__session={token}"}
    async with connect(url, subprotocols=["graphql-transport-ws"], additional_headers=cookie) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": {"query": VIEWER}}))
        frame = json.loads(await socket.recv())
    assert frame["payload"]["data"] == {"viewer": None}


async def test_repeated_late_and_reversed_webhooks_lead_to_the_same_state(system: System) -> None:
    await system.control.plan_webhooks("clerk", hold=True)
    who = await business(system, "Ótica")
    await act(system, "organization", id=who["organization"], name="Ótica Nova")
    await system.control.plan_webhooks("clerk", copies=2)
    assert await system.control.release("clerk") == 4
    token = await sign_in(system, **who)
    await until(
        lambda: ask(system, token, VIEWER), lambda found: found["viewer"]["organization"]["name"] == "Ótica Nova"
    )
    sent = await system.control.journal(simulator="clerk", direction="webhook")
    assert {one["status"] for one in sent} == {204}


async def test_open_connections_end_within_five_seconds_after_the_rights_are_lost(system: System) -> None:
    """Sockets and streams are closed, and requests are refused or may do less."""
    organization = (await business(system, "Despedidas"))["organization"]

    async def nothing(who: str, session: str) -> None:
        pass

    async def left(who: str, session: str) -> None:
        await act(system, "remove_member", user=who, organization=organization)

    async def deleted(who: str, session: str) -> None:
        await act(system, "delete_user", user=who)

    async def banned(who: str, session: str) -> None:
        await act(system, "ban_user", user=who)

    async def demoted(who: str, session: str) -> None:
        await act(system, "member", user=who, organization=organization, role="org:member")

    async def signed_out(who: str, session: str) -> None:
        await act(system, "revoke", session=session)

    async def one(what: Callable[[str, str], Awaitable[None]]) -> tuple[int, bool, int]:
        """Return the close code of the socket, whether the stream ended, and the status of a request afterwards."""
        name = what.__name__
        who = (await act(system, "user", first_name=name, email=f"{name}@example.com"))["id"]
        await act(system, "member", user=who, organization=organization, role="org:admin")
        signed = await act(system, "sign_in", user=who, organization=organization, lifetime=600)
        token, headers = signed["token"], {"authorization": f"Bearer {signed['token']}"}
        mine = replace(system, token=token)
        await ask(system, token, VIEWER)
        async with (
            httpx.AsyncClient(base_url=system.base, headers=headers, timeout=10) as http,
            mine.watch() as watch,
            http.stream("POST", "/graphql", json={"query": WATCH}, headers={"accept": "text/event-stream"}) as stream,
        ):
            await what(who, signed["session"])
            closing = asyncio.create_task(closed(watch.socket, 7))
            try:
                async with asyncio.timeout(7):
                    lines = [line async for line in stream.aiter_lines()]
            except TimeoutError:
                lines = ["event: complete"]
            body = {"query": "{ audit: integrations { name } }"}
            status = (await http.post("/graphql", json=body)).status_code
            return await closing, "event: complete" not in lines, status

    causes = (left, deleted, banned, signed_out, demoted, nothing)
    found = dict(zip([one.__name__ for one in causes], await asyncio.gather(*map(one, causes)), strict=True))
    assert found == {
        "left": (4403, True, 401),
        "deleted": (4403, True, 401),
        "banned": (4403, True, 401),
        "signed_out": (4403, True, 401),
        "demoted": (4403, True, 200),
        "nothing": (0, False, 200),
    }


async def closed(socket: Any, seconds: float) -> int:
    """Return the close code of a socket; 0 where it is still open after that time."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                await socket.recv()
    except ConnectionClosed:
        return int(socket.close_code)
    except TimeoutError:
        return 0
