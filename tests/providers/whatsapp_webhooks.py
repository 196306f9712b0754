"""WhatsApp webhooks as Meta writes and signs them."""

import hmac
import json
from pathlib import Path

import integrations.whatsapp
from core.ports import (
    ProviderEvent,
    RawWebhook,
)
from integrations.whatsapp.webhook import WhatsAppWebhooks
from tests.providers.factories import whatsapp_settings
from tests.servers import WHATSAPP

SECRET = WHATSAPP["WHATSAPP_APP_SECRET"]


NUMBER_ID = WHATSAPP["WHATSAPP_PHONE_NUMBER_ID"]


WEBHOOK_URL = "https://api.example.com/webhooks/whatsapp"


FIXTURES = Path(integrations.whatsapp.__file__).parent / "fixtures"


EMPTY_WEBHOOK = b'{"object":"whatsapp_business_account","entry":[]}'


WEBHOOKS = WhatsAppWebhooks(whatsapp_settings())


def read_fixture(name: str) -> bytes:
    return (FIXTURES / f"{name}.json").read_bytes()


def sign(body: bytes, secret: str = SECRET) -> str:
    return f"sha256={hmac.new(secret.encode(), body, 'sha256').hexdigest()}"


def raw_webhook(body: bytes, signature: str | None = None) -> RawWebhook:
    signed = {} if signature is None else {"x-hub-signature-256": signature}
    return RawWebhook("POST", WEBHOOK_URL, {"content-type": "application/json", **signed}, body)


def parse_webhook(body: bytes) -> list[ProviderEvent]:
    return list(WEBHOOKS.parse(raw_webhook(body)))


def change_body(value: object, field: object = "messages") -> bytes:
    entry = {"id": "102290129340398", "changes": [{"field": field, "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def status_report(**changes: object) -> dict[str, object]:
    return {"id": "wamid.A", "status": "delivered", "timestamp": "1795442404", **changes}
