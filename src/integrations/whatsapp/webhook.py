"""Believing and reading what Meta sends us: reports, and what people write.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence

from core.errors import InvalidSignature
from core.ports import OtherEvent, ProviderEvent, RawWebhook, TemplatesChanged
from integrations.kit import same
from integrations.whatsapp.batch import Item, take_apart
from integrations.whatsapp.inbound import inbound_message
from integrations.whatsapp.reading import load
from integrations.whatsapp.settings import Settings
from integrations.whatsapp.statuses import status_report
from integrations.whatsapp.words import as_word

_READERS: Mapping[str, Callable[[Item], ProviderEvent | None]] = {
    "messages": inbound_message,
    "statuses": status_report,
}
# https://developers.facebook.com/docs/whatsapp/business-management-api/webhooks/components
_TEMPLATE_FIELDS = frozenset(
    {
        "message_template_status_update",
        "message_template_components_update",
        "message_template_quality_update",
        "template_category_update",
    }
)


class WhatsAppHandshake:
    """Answers Meta's question whether our address is meant to hear it."""

    def __init__(self, settings: Settings) -> None:
        self._token = settings.webhook_verify_token.get_secret_value()

    def answer(self, query: Mapping[str, str]) -> str:
        challenge = query.get("hub.challenge", "")
        knows_us = same(self._token, query.get("hub.verify_token", ""))
        if query.get("hub.mode") != "subscribe" or not challenge or not knows_us:
            raise InvalidSignature("hub.verify_token is not ours: is WHATSAPP_WEBHOOK_VERIFY_TOKEN what Meta was told?")
        return challenge


class WhatsAppWebhooks:
    """Reads one app's webhooks; every configured app secret is believed, so that it can be changed at leisure."""

    def __init__(self, settings: Settings) -> None:
        self._secrets = [secret.get_secret_value().encode() for secret in settings.app_secrets]

    def verify(self, webhook: RawWebhook) -> None:
        given = webhook.headers.get("x-hub-signature-256", "")
        if not given:
            raise InvalidSignature("X-Hub-Signature-256 is missing.")
        for secret in self._secrets:
            # Over the bytes as they came: Meta escapes letters and slashes as no JSON library of ours would.
            if same(f"sha256={hmac.new(secret, webhook.body, 'sha256').hexdigest()}", given):
                return
        raise InvalidSignature("X-Hub-Signature-256 does not fit: is WHATSAPP_APP_SECRET the secret of this app?")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        try:
            events = [_event(item) for item in take_apart(load(webhook.body))]
        except RecursionError:  # nested so deeply that it can be read and not written again
            events = []
        return events or [_other("unknown", webhook.body.decode("utf-8", "replace"))]


def _event(item: Item) -> ProviderEvent:
    is_readable = isinstance(item.content, dict) and not item.is_whole_change
    event = _READERS[item.name](item) if is_readable else None
    return event or _other(item.name, item.raw)


def _other(name: str, raw: str) -> OtherEvent | TemplatesChanged:
    """What names nothing of ours, kept under a name of its own; told twice, it has the same."""
    kind = TemplatesChanged if name in _TEMPLATE_FIELDS else OtherEvent
    return kind(f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}", as_word(name) or "unknown", raw)
