"""Reading WhatsApp webhooks: batches, every stored payload, and invalid parts."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from core.errors import FailureParty, FailureReason
from core.ports import (
    Channel,
    InboundMessage,
    OtherEvent,
    Price,
    ProviderEvent,
    ReportedStatus,
    StatusReport,
    TemplatesChanged,
)
from tests.providers.factories import REFERENCE
from tests.providers.whatsapp_webhooks import (
    FIXTURES,
    NUMBER_ID,
    change_body,
    parse_webhook,
    read_fixture,
    status_report,
)

WAMID = "wamid.HBgMNTUzMTg3NjU0MzIxFQIAERgSQUJDREVGMDEyMzQ1Njc4OTAA"


def read(name: str) -> ProviderEvent:
    [event] = parse_webhook(read_fixture(name))
    return event


def messages(*items: object, **value: object) -> bytes:
    return change_body({"metadata": {"phone_number_id": NUMBER_ID}, "messages": list(items), **value})


def statuses(*items: object) -> bytes:
    return change_body({"statuses": list(items)})


def written(**changes: object) -> dict[str, object]:
    return {"id": "wamid.B", "from": "5511987654321", "type": "text", "text": {"body": "Oi"}, **changes}


def test_delivered_is_read_with_our_reference_and_its_price() -> None:
    event = read("delivered")
    assert event == StatusReport(
        f"{WAMID}:delivered",
        "delivered",
        event.raw,
        status=ReportedStatus.DELIVERED,
        price=Price(True, "PMP", "utility"),
        reference=REFERENCE,
        provider_message_id=WAMID,
        occurred_at=datetime(2026, 11, 23, 14, 0, 4, tzinfo=UTC),
    )


def test_read_has_no_price() -> None:
    event = read("read")
    assert isinstance(event, StatusReport)
    assert (event.status, event.price) == (ReportedStatus.READ, None)


def test_failed_says_why_and_needs_no_number() -> None:
    event = read("failed")
    assert isinstance(event, StatusReport)
    assert (event.status, event.reference) == (ReportedStatus.FAILED, REFERENCE)
    assert event.failure is not None
    assert (event.failure.reason, event.failure.party) == (
        FailureReason.SESSION_WINDOW_CLOSED,
        FailureParty.CALLER,
    )
    assert (event.failure.provider_code, event.failure.is_transient) == ("131047", False)


def test_what_a_customer_writes_arrives_letter_for_letter() -> None:
    event = read("inbound_text")
    assert event == InboundMessage(
        "wamid.IN1",
        "received",
        event.raw,
        channel=Channel.WHATSAPP,
        sender="+553187654321",
        recipient=NUMBER_ID,
        text="Olá, posso remarcar? 🙂 https://example.com/a",
        provider_message_id="wamid.IN1",
        occurred_at=datetime(2026, 11, 23, 14, 3, 20, tzinfo=UTC),
    )


def test_a_sender_without_a_number_is_identified_by_their_user_id() -> None:
    event = read("inbound_from_a_user_name")
    assert isinstance(event, InboundMessage)
    assert (event.sender, event.text) == ("BR.77491208655302741000", "oi")


@pytest.mark.parametrize(
    ("name", "kind", "text", "in_reply_to"),
    [
        ("inbound_button", "button", "Confirmar", WAMID),
        ("inbound_interactive", "interactive", "Manhã", WAMID),
        ("inbound_image", "image", "O comprovante", None),
        ("inbound_audio", "audio", None, None),
        ("inbound_reaction", "reaction", "👍", WAMID),
        ("inbound_location", "location", None, None),
        ("inbound_unsupported", "unsupported", None, None),
        ("inbound_kind_nobody_knows", "hologram", None, None),
    ],
)
def test_a_message_of_any_kind_is_read(name: str, kind: str, text: str | None, in_reply_to: str | None) -> None:
    event = read(name)
    assert isinstance(event, InboundMessage)
    assert (event.kind, event.text, event.in_reply_to) == (kind, text, in_reply_to)


@pytest.mark.parametrize(
    ("interactive", "text"),
    [
        ({"type": "button_reply", "button_reply": {"id": "s", "title": "Sim"}}, "Sim"),
        ({"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Enviado", "response_json": "{}"}}, "Enviado"),
        ({"type": "new_reply", "new_reply": {"title": "x"}}, None),
    ],
)
def test_every_interactive_reply_is_read(interactive: dict[str, Any], text: str | None) -> None:
    [event] = parse_webhook(messages(written(type="interactive", interactive=interactive)))
    assert isinstance(event, InboundMessage)
    assert event.text == text


@pytest.mark.parametrize(
    ("name", "event_type", "key"),
    [
        ("system_number_changed", "user_changed_number", "wamid.IN11"),
        ("unknown_status", "quarantined", f"{WAMID}:quarantined"),
        ("unknown", "auras", None),
    ],
)
def test_an_event_without_a_handler_is_kept(name: str, event_type: str, key: str | None) -> None:
    event = read(name)
    assert isinstance(event, OtherEvent)
    assert event.event_type == event_type
    assert event.dedupe_key == key if key else event.dedupe_key.startswith("sha256:")
    assert json.loads(event.raw) == json.loads(read_fixture(name))
    assert event.reference == (REFERENCE if name == "unknown_status" else None)


def test_a_changed_template_is_reported_as_such() -> None:
    event = read("template_paused")
    assert isinstance(event, TemplatesChanged)
    assert event.event_type == "message_template_status_update"
    assert event.dedupe_key.startswith("sha256:")
    assert json.loads(event.raw) == json.loads(read_fixture("template_paused"))


def test_a_batch_is_split_in_its_order() -> None:
    events = parse_webhook(read_fixture("batch"))
    assert [event.event_type for event in events] == ["read", "sent", "delivered"]
    assert [event.dedupe_key for event in events] == [f"{WAMID}:{event.event_type}" for event in events]


@pytest.mark.parametrize("name", sorted(path.stem for path in FIXTURES.glob("*.json")))
def test_each_piece_is_a_webhook_that_says_the_same(name: str) -> None:
    for event in parse_webhook(read_fixture(name)):
        assert parse_webhook(event.raw.encode()) == [event]


def test_an_event_contains_only_the_people_it_concerns() -> None:
    people = [{"wa_id": "5511987654321", "profile": {"name": "Ana"}}, {"user_id": "BR.2", "profile": {"name": "Bia"}}]
    first, second = parse_webhook(
        messages(written(), written(id="wamid.C", from_user_id="BR.2", **{"from": None}), contacts=people)
    )
    assert ("Ana" in first.raw, "Bia" in first.raw) == (True, False)
    assert ("Ana" in second.raw, "Bia" in second.raw) == (False, True)


BAD = [
    None,
    0,
    "x",
    [],
    {},
    {"id": "wamid.A"},
    {"id": None, "status": "delivered"},
    {"id": "wamid.A", "status": ["delivered"]},
    {"id": "wamid.A b", "status": "delivered"},
    {"id": "w" * 257, "status": "delivered"},
    {"id": "wamid.A", "status": "\ud800"},
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_report_becomes_another_event_and_the_others_are_read(bad: object) -> None:
    first, second, third = parse_webhook(statuses(status_report(id="wamid.1"), bad, status_report(id="wamid.3")))
    assert isinstance(second, OtherEvent)
    assert (second.event_type, first.dedupe_key, third.dedupe_key) == (
        "statuses",
        "wamid.1:delivered",
        "wamid.3:delivered",
    )
    assert second.dedupe_key.startswith("sha256:")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        written(id=""),
        written(**{"from": None}),
        written(**{"from": "Ana"}),
        written(**{"from": "\x00"}),
        written(**{"from": None, "from_user_id": "Ana"}),
    ],
)
def test_a_bad_message_becomes_another_event_and_the_others_are_read(bad: object) -> None:
    first, second, third = parse_webhook(messages(written(id="wamid.1"), bad, written(id="wamid.3")))
    assert isinstance(second, OtherEvent)
    assert isinstance(first, InboundMessage)
    assert isinstance(third, InboundMessage)


@pytest.mark.parametrize("metadata", [None, {}, {"phone_number_id": 1}, {"phone_number_id": "x"}])
def test_a_message_without_a_recipient_belongs_to_no_tenant(metadata: object) -> None:
    [event] = parse_webhook(messages(written(), metadata=metadata))
    assert isinstance(event, OtherEvent)


@pytest.mark.parametrize("text", [None, 1, [], {"body": None}, {"body": ["x"]}, "x", {"caption": "x"}])
def test_a_message_with_an_invalid_text_is_not_lost(text: object) -> None:
    [event] = parse_webhook(messages(written(text=text)))
    assert isinstance(event, InboundMessage)
    assert event.text is None


def test_half_of_a_character_becomes_a_question_mark() -> None:
    [event] = parse_webhook(messages(written(text={"body": "\ud800 x"})))
    assert isinstance(event, InboundMessage)
    assert event.text == "? x"


@pytest.mark.parametrize("timestamp", [None, "", "x", "-1", "1e9", "9" * 400, 1795442404, "99999999999"])
def test_a_moment_that_is_none_is_left_out(timestamp: object) -> None:
    [event] = parse_webhook(statuses(status_report(timestamp=timestamp)))
    assert isinstance(event, StatusReport)
    assert (event.occurred_at is None) is (timestamp != "99999999999")


@pytest.mark.parametrize("errors", [None, [], ["x"], [{}], [{"code": "131026"}], [{"code": True}], {"code": 1}])
def test_a_failure_without_a_code_is_given_none(errors: object) -> None:
    [event] = parse_webhook(statuses(status_report(status="failed", errors=errors)))
    assert isinstance(event, StatusReport)
    assert event.failure is not None
    assert (event.failure.reason, event.failure.provider_code) == (FailureReason.OTHER, None)


def test_an_unknown_code_is_kept() -> None:
    [event] = parse_webhook(statuses(status_report(status="failed", errors=[{"code": 199999}])))
    assert isinstance(event, StatusReport)
    assert event.failure is not None
    assert (event.failure.reason, event.failure.provider_code) == (FailureReason.OTHER, "199999")


@pytest.mark.parametrize(
    ("pricing", "price"),
    [
        (None, None),
        ({}, None),
        ({"pricing_model": "PMP"}, None),
        ({"pricing_model": "PMP", "category": "x y"}, None),
        ({"billable": False, "pricing_model": "PMP", "category": "service"}, Price(False, "PMP", "service")),
        ({"pricing_model": "PMP", "category": "marketing", "type": "regular"}, Price(True, "PMP", "marketing")),
        ({"pricing_model": "PMP", "category": "x", "type": "free_entry_point"}, Price(False, "PMP", "x")),
    ],
)
def test_a_price_is_read_where_there_is_one(pricing: object, price: Price | None) -> None:
    [event] = parse_webhook(statuses(status_report(pricing=pricing)))
    assert isinstance(event, StatusReport)
    assert event.price == price


@pytest.mark.parametrize("reference", [None, "", "x", 1, "a.b.c", f"{REFERENCE}.4"])
def test_a_reference_that_is_not_ours_is_none(reference: object) -> None:
    [event] = parse_webhook(statuses(status_report(biz_opaque_callback_data=reference)))
    assert isinstance(event, StatusReport)
    assert event.reference is None


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("sent", ReportedStatus.SENT),
        ("delivered", ReportedStatus.DELIVERED),
        ("read", ReportedStatus.READ),
        ("played", ReportedStatus.READ),
        ("failed", ReportedStatus.FAILED),
        ("deleted", None),
        ("warning", None),
    ],
)
def test_every_word_of_meta_has_its_meaning(word: str, status: ReportedStatus | None) -> None:
    [event] = parse_webhook(statuses(status_report(status=word)))
    assert event.event_type == word
    assert (event.status if isinstance(event, StatusReport) else None) is status
