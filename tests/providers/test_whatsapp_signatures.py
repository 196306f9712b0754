"""WhatsApp webhook signatures over the raw bytes, and the handshake."""

import json

import pytest

from core.errors import InvalidSignature
from integrations.whatsapp.webhook import WhatsAppHandshake, WhatsAppWebhooks
from tests.providers.factories import whatsapp_settings
from tests.providers.whatsapp_webhooks import EMPTY_WEBHOOK, WEBHOOKS, raw_webhook, read_fixture, sign
from tests.servers import WHATSAPP

KNOWN = "sha256=eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece"


HANDSHAKE = WhatsAppHandshake(whatsapp_settings())


def test_the_known_signature_is_accepted() -> None:
    WEBHOOKS.verify(raw_webhook(EMPTY_WEBHOOK, KNOWN))


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        KNOWN.removeprefix("sha256="),
        KNOWN.replace("sha256", "sha1"),
        KNOWN.upper(),
        KNOWN[:-1],
        f"{KNOWN} ",
        f"sha256={'0' * 64}",
        "sha256=",
        "ção",
        "\udcff",
        "\x00",
        "A" * 1_000_000,
    ],
)
def test_a_forged_signature_is_refused(given: str | None) -> None:
    with pytest.raises(InvalidSignature):
        WEBHOOKS.verify(raw_webhook(EMPTY_WEBHOOK, given))


def test_the_signature_covers_the_bytes_as_they_came() -> None:
    body = read_fixture("inbound_text")
    again = json.dumps(json.loads(body), separators=(",", ":")).encode()
    assert json.loads(again) == json.loads(body)
    WEBHOOKS.verify(raw_webhook(body, sign(body)))
    for changed in (again, body + b" ", body.replace(b"remarcar", b"cancelar")):
        with pytest.raises(InvalidSignature):
            WEBHOOKS.verify(raw_webhook(changed, sign(body)))


def test_both_secrets_are_accepted_while_they_are_rotated() -> None:
    old, new, stranger = "a" * 32, "b" * 32, "c" * 32
    webhooks = WhatsAppWebhooks(whatsapp_settings(WHATSAPP_APP_SECRET=f"{new},{old}"))
    for secret in (old, new):
        webhooks.verify(raw_webhook(EMPTY_WEBHOOK, sign(EMPTY_WEBHOOK, secret)))
    with pytest.raises(InvalidSignature):
        webhooks.verify(raw_webhook(EMPTY_WEBHOOK, sign(EMPTY_WEBHOOK, stranger)))


GREETING = {
    "hub.mode": "subscribe",
    "hub.challenge": "1158201444",
    "hub.verify_token": WHATSAPP["WHATSAPP_WEBHOOK_VERIFY_TOKEN"],
}


def test_a_request_with_our_token_gets_the_challenge_back() -> None:
    assert HANDSHAKE.answer(GREETING) == "1158201444"


@pytest.mark.parametrize(
    "changes",
    [
        {"hub.mode": "unsubscribe"},
        {"hub.mode": ""},
        {"hub.challenge": ""},
        {"hub.verify_token": "another"},
        {"hub.verify_token": ""},
        {"hub.verify_token": "ção\udcff"},
    ],
)
def test_a_request_without_our_token_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidSignature):
        HANDSHAKE.answer({**GREETING, **changes})
    with pytest.raises(InvalidSignature):
        HANDSHAKE.answer({name: text for name, text in GREETING.items() if name not in changes})
