"""Redacted provider payloads: enough to see what happened, without personal data."""

import json
from typing import Any

import pytest

from core.inbox.queries import MASK, redacted
from tests.house.sources import ROOT

FIXTURES = sorted(
    path
    for folder in ("twilio", "whatsapp")
    for path in (ROOT / "src" / "integrations" / folder / "fixtures").iterdir()
    if path.is_file()
)
PERSONAL = (
    "553187654321",
    "5531987654321",
    "+55",
    "%2B55",
    "Ana",
    "remarcar",
    "13491208655302741918",
    "551140028922",
    "123456",
)


def test_a_report_keeps_its_codes_ids_and_states() -> None:
    raw = "MessageSid=SM0123&MessageStatus=undelivered&ErrorCode=30003&To=%2B5511987654321&Body=Oi+Ana&NewField=x"
    assert redacted(raw) == {
        "MessageSid": "SM0123",
        "MessageStatus": "undelivered",
        "ErrorCode": "30003",
        "To": MASK,
        "Body": MASK,
        "NewField": MASK,
    }


def test_json_keeps_its_shape() -> None:
    raw = {
        "entry": [{"id": "102290129340398", "changes": [{"field": "messages", "value": {"from": "5511987654321"}}]}],
        "timestamp": "1795442600",
        "billable": True,
        "errors": [{"code": 131026, "title": "Ana Souza"}],
        "location": {"latitude": -23.5},
        "nothing": None,
    }
    assert redacted(json.dumps(raw)) == {
        "entry": [{"id": "102290129340398", "changes": [{"field": "messages", "value": {"from": MASK}}]}],
        "timestamp": "1795442600",
        "billable": True,
        "errors": [{"code": 131026, "title": MASK}],
        "location": {"latitude": MASK},
        "nothing": None,
    }


@pytest.mark.parametrize(
    "raw",
    [
        '{"id": "5511987654321"}',
        '{"id": 5511987654321}',
        '{"id": "12345678901"}',
        '{"id": "+5511987654321"}',
        '{"status": "ana@example.com"}',
        '{"status": "Ana Souza"}',
        '{"5511987654321": "x"}',
        '{"id": {"5511987654321": ["ana@example.com"]}}',
        '"5511987654321"',
        "5511987654321",
        "ana@example.com=1&x=5511987654321",
        "id=%2B5511987654321",
        '{"timestamp": "Ana"}',
    ],
)
def test_no_name_lets_a_number_or_an_address_through(raw: str) -> None:
    shown = json.dumps(redacted(raw))
    assert not any(secret in shown for secret in ("5511987654321", "12345678901", "ana@", "Ana"))


def test_no_personal_data_of_any_provider_is_shown(subtests: pytest.Subtests) -> None:
    for path in FIXTURES:
        with subtests.test(path.name):
            raw = path.read_text()
            shown = json.dumps(redacted(raw))
            assert not [secret for secret in PERSONAL if secret in shown]


@pytest.mark.parametrize("raw", ["", " ", "[" * 100_000, "a" * 10, "&".join("x=1" for _ in range(2_000)), "\0", "☃"])
def test_an_unreadable_payload_is_handled(raw: str) -> None:
    shown: Any = redacted(raw)
    assert len(json.dumps(shown)) < 200


def test_deep_json_is_cut_off() -> None:
    raw = '{"a":' * 40 + '"5511987654321"' + "}" * 40
    assert "5511987654321" not in json.dumps(redacted(raw))
