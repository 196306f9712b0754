"""The simulated Clerk: its users, changes to them, and signed webhooks in Clerk's format."""

from typing import Any

import httpx
import jwt
import pytest

from core.ports import DirectoryChanged, OtherEvent, RawWebhook
from integrations.clerk.webhook import ClerkWebhooks
from integrations.simulating.client import SimulatorRefused
from tests.providers.factories import clerk_settings
from tests.servers import CLERK, Simulators, WebhookReceiver

JWKS = "/.well-known/jwks.json"


async def act(simulators: Simulators, action: str, **order: Any) -> dict[str, Any]:
    return await simulators.control.act("clerk", action, **order)


async def keys(simulators: Simulators) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as http:
        found = (await http.get(simulators.clerk_base + JWKS)).json()["keys"]
    return {one["kid"]: jwt.PyJWK(one).key for one in found}


async def told(receiver: WebhookReceiver, count: int) -> list[Any]:
    """What our own reader makes of what came."""
    reader = ClerkWebhooks(clerk_settings())
    events = []
    for one in await receiver.wait_for("/webhooks/clerk", count):
        headers = {name.lower(): text for name, text in one.headers.items()}
        webhook = RawWebhook("POST", one.url, headers, one.body)
        reader.verify(webhook)
        events += reader.parse(webhook)
    return events


async def test_another_library_accepts_its_tokens(simulators: Simulators) -> None:
    signed = await act(simulators, "sign_in")
    known = await keys(simulators)
    kid = jwt.get_unverified_header(signed["token"])["kid"]
    claims = jwt.decode(signed["token"], known[kid], algorithms=["RS256"], issuer="https://clerk.example.com")
    assert claims == signed["claims"]
    assert (claims["sub"], claims["o"]) == ("user_Ana", {"id": "org_Loja", "rol": "admin", "slg": "loja-da-ana"})


async def test_permissions_are_packed_as_clerk_packs_them(simulators: Simulators) -> None:
    granted = ["org:teams:read", "org:dashboard:manage", "org:dashboard:read"]
    await act(simulators, "member", user="user_Ana", role="org:admin", permissions=granted)
    claims = (await act(simulators, "sign_in"))["claims"]
    assert claims["fea"] == "o:dashboard,o:teams"
    assert (claims["o"]["per"], claims["o"]["fpm"]) == ("manage,read", "3,2")


async def test_keys_rotate_and_old_ones_may_be_withdrawn(simulators: Simulators) -> None:
    old = await keys(simulators)
    new = (await act(simulators, "rotate_keys"))["kid"]
    assert (await keys(simulators)).keys() == old.keys() | {new}
    last = (await act(simulators, "rotate_keys", withdraw=True))["kid"]
    assert (await keys(simulators)).keys() == {last}


async def test_every_change_is_sent_as_a_signed_webhook(simulators: Simulators, receiver: WebhookReceiver) -> None:
    user, shop = await act(simulators, "user", first_name="Caio"), await act(simulators, "organization", name="Bar")
    pair = {"user": user["id"], "organization": shop["id"]}
    await act(simulators, "member", **pair)
    await act(simulators, "member", role="org:admin", **pair)
    await act(simulators, "remove_member", **pair)
    await act(simulators, "delete_organization", organization=shop["id"])
    await act(simulators, "delete_user", user=user["id"])
    events = await told(receiver, 7)
    assert {event.event_type for event in events} == {
        "user.created",
        "organization.created",
        "organizationMembership.created",
        "organizationMembership.updated",
        "organizationMembership.deleted",
        "organization.deleted",
        "user.deleted",
    }
    assert {type(event) for event in events} == {DirectoryChanged}


async def test_webhooks_can_be_switched_off(simulators: Simulators, receiver: WebhookReceiver) -> None:
    assert (await act(simulators, "user", tell=False))["webhook_id"] is None
    await act(simulators, "emit", type="waitlistEntry.created", data={"id": "wle_1"})
    [event] = await told(receiver, 1)
    assert (type(event), event.event_type) == (OtherEvent, "waitlistEntry.created")


async def test_a_session_that_was_revoked_gives_no_more_tokens(simulators: Simulators) -> None:
    session = (await act(simulators, "sign_in"))["session"]
    assert (await act(simulators, "token", session=session))["token"]
    assert (await act(simulators, "revoke"))["status"] == "revoked"
    with pytest.raises(SimulatorRefused):
        await act(simulators, "token", session=session)


@pytest.mark.parametrize(
    ("action", "order", "field"),
    [
        ("sign_in", {"user": "user_Nobody"}, "user"),
        ("sign_in", {"organization": "org_Other"}, "organization"),
        ("sign_in", {"mood": "good"}, "mood"),
        ("member", {"organization": "org_Other"}, "organization"),
        ("member", {"role": "admin"}, "role"),
        ("remove_member", {"user": "user_Nobody"}, "user"),
        ("token", {"session": "sess_none"}, "session"),
        ("revoke", {}, "session"),
        ("user", {"id": "org_1"}, "id"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    simulators: Simulators, action: str, order: dict[str, Any], field: str
) -> None:
    with pytest.raises(SimulatorRefused) as caught:
        await act(simulators, action, **order)
    assert caught.value.field == field


async def test_the_backend_api_wants_the_secret_key(simulators: Simulators) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=simulators.clerk_base) as http:
        assert (await http.get("/v1/jwks")).status_code == 401
        mine = {"authorization": f"Bearer {CLERK['CLERK_SECRET_KEY']}"}
        assert (await http.get("/v1/jwks", headers=mine)).status_code == 200
        assert (await http.get("/v1/users", headers=mine)).json()["errors"][0]["code"] == "resource_not_found"


async def test_its_state_can_be_exported_and_contains_no_key(simulators: Simulators) -> None:
    await act(simulators, "user", id="user_Caio", tell=False)
    await act(simulators, "sign_in")
    memory = await simulators.control.export_memory("clerk")
    assert "PRIVATE" not in str(memory)
    await simulators.control.reset("clerk")
    assert "user_Caio" not in (await simulators.control.state("clerk"))["users"]
    await simulators.control.import_memory("clerk", memory)
    assert "user_Caio" in (await simulators.control.state("clerk"))["users"]
    assert await simulators.control.export_memory("clerk") == memory


async def test_every_event_can_be_triggered_and_is_understood(
    simulators: Simulators, receiver: WebhookReceiver
) -> None:
    await act(simulators, "sign_in")
    names = [one["name"] for one in (await simulators.control.state("clerk"))["events"]]
    # A deleted user can do nothing more: the deletions come last.
    for name in sorted(names, key=lambda name: ("deleted" in name, name)):
        assert (await simulators.control.trigger("clerk", name))["status"] == 204
    assert len(await told(receiver, len(names))) == len(names)
