"""Clerk webhooks: the known signature, replays, rotation, and every stored payload."""

import base64
import hmac
import json
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import integrations.clerk
from core.errors import InvalidSignature
from core.ports import (
    DirectoryChanged,
    Membership,
    OrganizationNamed,
    OtherEvent,
    Person,
    ProviderEvent,
    RawWebhook,
    SessionEnded,
)
from integrations.clerk.webhook import ClerkWebhooks
from tests.providers.factories import clerk_settings

FIXTURES = Path(integrations.clerk.__file__).parent / "fixtures"
URL = "https://api.example.com/webhooks/clerk"
SECRET = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
# Computed by Svix' own library.
NAME, MOMENT = "msg_2LJd4sZjGj", 1_795_442_400
BODY = (
    b'{"data":{"id":"user_2abc","object":"user"},"object":"event","type":"user.updated",'
    b'"timestamp":1795442400000,"instance_id":"ins_2abc"}'
)
KNOWN = "v1,LC8nWn9lX09QxXBln4Nf/kr5c2Od/ywLf19nQ3EsuHg="


def webhook(body: bytes = BODY, signature: str = KNOWN, name: str = NAME, moment: object = MOMENT) -> RawWebhook:
    headers = {"svix-id": name, "svix-timestamp": str(moment), "svix-signature": signature}
    return RawWebhook("POST", URL, headers, body)


def signature(body: bytes = BODY, moment: int = MOMENT, secret: str = SECRET) -> str:
    signed = f"{NAME}.{moment}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(base64.b64decode(secret), signed, 'sha256')).decode()}"


def reader(now: float = MOMENT, secrets: str = f"whsec_{SECRET}") -> ClerkWebhooks:
    return ClerkWebhooks(clerk_settings(CLERK_WEBHOOK_SIGNING_SECRET=secrets), lambda: now)


def test_the_known_signature_is_accepted() -> None:
    reader().verify(webhook())


@pytest.mark.parametrize("seconds", [-299, -1, 0, 1, 299])
def test_five_minutes_either_way_are_forgiven(seconds: int) -> None:
    reader(MOMENT + seconds).verify(webhook())


@pytest.mark.parametrize("seconds", [-86_400, -301, 301, 86_400])
def test_what_was_recorded_cannot_be_played_again_later(seconds: int) -> None:
    with pytest.raises(InvalidSignature):
        reader(MOMENT + seconds).verify(webhook())


@pytest.mark.parametrize("given", [f"v1,AAAA {KNOWN}", f"{KNOWN} v1,AAAA", f"v1a,AAAA {KNOWN} v2,x"])
def test_one_right_signature_among_others_suffices(given: str) -> None:
    reader().verify(webhook(signature=given))


def test_while_rotating_both_secrets_are_accepted() -> None:
    both = f"whsec_{'n' * 32},whsec_{SECRET}"
    reader(secrets=both).verify(webhook())
    reader(secrets=both).verify(webhook(signature=signature(secret="n" * 32)))
    with pytest.raises(InvalidSignature):
        reader(secrets=both).verify(webhook(signature=signature(secret="o" * 32)))


FORGED = [
    webhook(signature=KNOWN.replace("v1,", "v1a,")),
    webhook(signature=KNOWN.replace("v1,", "v2,")),
    webhook(signature=KNOWN.removeprefix("v1,")),
    webhook(signature="v1,"),
    webhook(signature=","),
    webhook(signature="v1,é"),
    webhook(signature="v1," + "A" * 44),
    webhook(signature="v1,AAAA " * 40 + KNOWN),
    webhook(name="msg_other"),
    webhook(name="msg with spaces"),
    webhook(name=""),
    webhook(moment=MOMENT + 1),
    webhook(moment=f"{MOMENT}.0"),
    webhook(moment=f" {MOMENT}"),
    webhook(moment="now"),
    webhook(moment="9" * 400),
    webhook(body=BODY + b" "),
    webhook(body=BODY.replace(b"user_2abc", b"user_2abd")),
    webhook(signature=signature(secret="")),
    # The whole text as the key, as another provider has it.
    webhook(
        signature="v1,"
        + base64.b64encode(
            hmac.digest(f"whsec_{SECRET}".encode(), f"{NAME}.{MOMENT}.".encode() + BODY, "sha256")
        ).decode()
    ),
]


def test_what_is_not_signed_right_is_refused(subtests: pytest.Subtests) -> None:
    for forged in FORGED:
        with subtests.test(str(forged.headers)), pytest.raises(InvalidSignature):
            reader().verify(forged)


def read(name: str) -> ProviderEvent:
    body = (FIXTURES / f"{name}.json").read_bytes()
    (event,) = reader(time.time()).parse(webhook(body))
    return event


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-23T{text}+00:00")


ANA = "user_2abcUSER0001"
ACME = "org_2abcACME"
SESSION = "sess_2abc"
PICTURE = "https://img.clerk.com/x"


@pytest.mark.parametrize(
    ("name", "subject", "at", "is_deleted"),
    [
        ("user_created", Person(ANA, "Ana Souza", "ana@example.com", PICTURE), "13:59:59.500", False),
        ("user_updated", Person(ANA, "Ana Clara Souza", "ana@example.com", PICTURE), "14:00:10", False),
        ("user_without_email", Person("user_2abcUSER0002", "bia", None, PICTURE), "13:59:59.500", False),
        ("user_deleted", Person(ANA), "15:50:00", True),
        ("organization_created", OrganizationNamed(ACME, "Acme"), "14:01:40", False),
        ("organization_updated", OrganizationNamed(ACME, "Acme Ltda"), "14:03:20", False),
        ("organization_deleted", OrganizationNamed(ACME), "15:51:40", True),
        ("membership_created", Membership(ANA, ACME, "org:admin"), "14:01:40", False),
        ("membership_updated", Membership(ANA, ACME, "org:member"), "14:05:00", False),
        # As old as the event: what it was before its end, it has been since the last change.
        ("membership_deleted", Membership(ANA, ACME, "org:member"), "14:06:40", True),
        ("session_revoked", SessionEnded(SESSION), "14:10:01", True),
    ],
)
def test_events_are_read(name: str, subject: object, at: str, is_deleted: bool) -> None:
    event = read(name)
    assert isinstance(event, DirectoryChanged)
    assert (event.subject, event.at, event.is_deleted) == (subject, moment(at), is_deleted)
    assert event.dedupe_key == NAME


def test_what_nothing_here_acts_on_is_kept_under_its_name() -> None:
    event = read("unknown")
    assert isinstance(event, OtherEvent)
    assert event.event_type == "waitlistEntry.pondered"


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"user.created","data":{}}',
        b'{"type":"user.created","data":{"id":"user_1"}}',
        b'{"type":"user.created","data":{"id":"user_1","updated_at":"now"}}',
        b'{"type":"user.created","data":{"id":"user_1","updated_at":99999999999999999999}}',
        b'{"type":"user.created","data":{"id":"org_1","updated_at":1}}',
        b'{"type":"user.deleted","data":{"id":"user_1"}}',
        b'{"type":"user.deleted","data":{"id":"user_1"},"timestamp":true}',
        b'{"type":"user.pondered","data":{"id":"user_1","updated_at":1},"timestamp":1}',
        b'{"type":"organizationMembership.created","data":{"role":"org:admin","updated_at":1}}',
        b'{"type":["user.created"],"data":{"id":"user_1","updated_at":1}}',
    ],
)
def test_what_lacks_something_is_kept_and_moves_nothing(body: bytes) -> None:
    (event,) = reader().parse(webhook(body))
    assert isinstance(event, OtherEvent)


def test_a_ban_is_read_and_nothing_else_is_taken_for_one() -> None:
    for banned, expected in ((b"true", True), (b"false", False), (b"null", False), (b"1", False), (b'"true"', False)):
        body = b'{"type":"user.updated","data":{"id":"user_1","updated_at":1,"banned":' + banned + b"}}"
        (event,) = reader().parse(webhook(body))
        assert isinstance(event, DirectoryChanged)
        assert event.subject == Person("user_1", is_banned=expected)


ABSURD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["\ud800", "\x00", "9" * 5_000, 10**308, -1, 1e308]),
    st.lists(st.none()),
    st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)
PLACES = (
    "id",
    "updated_at",
    "first_name",
    "email_addresses",
    "name",
    "organization",
    "public_user_data",
    "role",
    "banned",
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["user", "organization", "organizationMembership", "session", "x"]),
    st.sampled_from(["created", "updated", "deleted", "revoked", "ended", ""]),
    st.dictionaries(st.sampled_from(PLACES), ABSURD) | ABSURD,
    ABSURD,
)
def test_no_content_breaks_the_reading_of_a_webhook(noun: str, verb: str, data: object, moment: object) -> None:
    body = json.dumps({"type": f"{noun}.{verb}", "data": data, "timestamp": moment}).encode()
    (event,) = reader().parse(webhook(body))
    assert isinstance(event, DirectoryChanged | OtherEvent)


def test_half_a_character_and_nul_do_not_get_as_far_as_the_database() -> None:
    body = b'{"type":"organization.updated","data":{"id":"org_1","name":"A\\u0000\\ud83d","updated_at":1}}'
    (event,) = reader().parse(webhook(body))
    assert isinstance(event, DirectoryChanged)
    assert event.subject == OrganizationNamed("org_1", "A\ufffd?")
