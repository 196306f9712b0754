"""The last line of a message's history: what comes next, in every state that is not final."""

from typing import Any

import pytest

from api.cli.message_input import story

MESSAGE: dict[str, Any] = {
    "id": "M1",
    "direction": "OUTBOUND",
    "status": "SENT",
    "channel": "SMS",
    "toMasked": "+55 11 9••••-4321",
    "sendAt": None,
    "nextAttemptAt": None,
    "nextLookAt": None,
    "deadLetter": None,
    "canRetry": False,
    "erasedAt": None,
    "content": {"text": "Olá"},
    "failure": None,
    "attempts": [],
    "events": {"nodes": [], "pageInfo": {"hasPreviousPage": False}},
}
MOMENT = "2026-11-23T14:05:00.000Z"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "SCHEDULED", "sendAt": MOMENT}, "its hour"),
        ({"status": "QUEUED", "nextAttemptAt": MOMENT}, "attempt 1"),
        ({"status": "UNCONFIRMED", "nextLookAt": MOMENT}, "unconfirmed, looked at again at 2026-11-2"),
        ({"status": "SENT"}, "the provider's delivery report"),
        ({"status": "FAILED", "deadLetter": "D1"}, "interalpha replay M1"),
        ({"status": "FAILED", "deadLetter": "D1"}, "interalpha dead-letters discard D1"),
        ({"status": "FAILED", "canRetry": True}, "interalpha replay M1"),
    ],
)
def test_what_is_next_is_said(changes: dict[str, Any], words: str) -> None:
    *_, last = story(MESSAGE | changes)
    assert last.startswith(" Next   ")
    assert words in last


@pytest.mark.parametrize("changes", [{"status": "DELIVERED"}, {"status": "FAILED"}, {"channel": "EMAIL"}])
def test_where_nothing_is_next_nothing_is_said(changes: dict[str, Any]) -> None:
    assert not any(line.startswith(" Next") for line in story(MESSAGE | changes))


def test_a_received_message_is_shown_with_the_customers_number() -> None:
    head, *_ = story(MESSAGE | {"direction": "INBOUND", "fromMasked": "+55 21 9••••-8888"})
    assert "sms ← +55 21 9••••-8888" in head


def test_an_attempt_shows_the_provider_code_its_time_and_its_answer() -> None:
    attempt = {
        "number": 1,
        "channel": "SMS",
        "outcome": "UNAVAILABLE",
        "providerMessageId": None,
        "answer": "429 20429",
        "startedAt": MOMENT,
        "durationMs": 38.2,
        "integration": {"kind": "TWILIO"},
        "failure": {"message": "Too many requests.", "providerCode": "20429"},
    }
    _, _, line = story(MESSAGE | {"attempts": [attempt], "status": "FAILED"})
    assert line.endswith("twilio    unavailable    38 ms   20429 Too many requests.   429 20429")


def test_what_it_says_is_shown_and_what_is_no_longer_kept_is_said_to_be_so() -> None:
    template = {"rendered": "Olá, Ana!", "template": {"name": "order_shipped", "locale": "pt-BR"}}
    cases: list[tuple[Any, list[str]]] = [
        ({"text": "Olá\nAna"}, [" Says   Olá", "        Ana"]),
        ({"text": ""}, [" Says   (nothing)"]),
        ({"subject": "Pedido", "plainText": "Saiu.", "html": "<p>"}, [" Says   Subject: Pedido", "        Saiu."]),
        ({"subject": "Pedido", "plainText": None, "html": "<p>"}, [" Says   Subject: Pedido", "        HTML alone"]),
        (template, [" Says   By the template order_shipped (pt-BR):", "        Olá, Ana!"]),
        (None, [" Says   no longer kept, since 2026-11-23"]),
    ]
    for content, expected in cases:
        _, *lines = story(MESSAGE | {"content": content, "erasedAt": None if content else MOMENT})
        for line, words in zip(lines, expected, strict=False):
            assert line.startswith(words), lines
    _, line, *_ = story(MESSAGE | {"content": None})
    assert "ENCRYPTION_KEYS" in line
