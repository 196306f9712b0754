"""Believing and reading what Twilio sends us: status callbacks and inbound SMS.

https://www.twilio.com/docs/usage/security#validating-requests
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
"""

import hashlib
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, parse_qsl, urlsplit

from twilio.request_validator import RequestValidator

from core.errors import InvalidSignature
from core.ports import (
    Channel,
    InboundMessage,
    OtherEvent,
    ProviderEvent,
    RawWebhook,
    Reference,
    ReportedStatus,
    StatusReport,
)
from integrations.kit import same
from integrations.twilio.errors import failure_of
from integrations.twilio.settings import Settings

# Twilio → ours. The states before "sent" say only that Twilio took it, which its answer had told us already.
STATUSES: Mapping[str, ReportedStatus] = {
    "sent": ReportedStatus.SENT,
    "delivered": ReportedStatus.DELIVERED,
    "partially_delivered": ReportedStatus.DELIVERED,
    "read": ReportedStatus.READ,
    "undelivered": ReportedStatus.FAILED,
    "failed": ReportedStatus.FAILED,
    "canceled": ReportedStatus.FAILED,
}
_INBOUND = frozenset({"received", "receiving"})


class Form(dict[str, list[str]]):
    """A form as Twilio's validator wants it; fields with blank values stay, since they are signed too."""

    @classmethod
    def parse(cls, body: bytes) -> "Form":
        form = cls()
        for name, value in parse_qsl(body.decode("utf-8", errors="replace"), keep_blank_values=True):
            form.setdefault(name, []).append(value)
        return form

    def getlist(self, name: str) -> list[str]:
        return self[name]

    def first(self, name: str) -> str | None:
        return self[name][0] if self.get(name) else None


class TwilioWebhooks:
    """Reads one account's webhooks; every configured auth token is believed, so that it can be changed at leisure."""

    def __init__(self, settings: Settings) -> None:
        self._validators = [RequestValidator(token.get_secret_value()) for token in settings.auth_tokens]

    def verify(self, webhook: RawWebhook) -> None:
        given = webhook.headers.get("x-twilio-signature", "")
        if not given:
            raise InvalidSignature("X-Twilio-Signature is missing.")
        is_json = "json" in webhook.headers.get("content-type", "")
        if is_json:
            _check_body_hash(webhook)
        form = Form() if is_json else Form.parse(webhook.body)
        for url in _spellings(webhook.url):
            for validator in self._validators:
                # The algorithm is ours to choose: a header that names another must not weaken it.
                if same(validator.compute_signature(url, form), given):
                    return
        raise InvalidSignature("X-Twilio-Signature does not fit: is PUBLIC_BASE_URL the address Twilio calls?")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        form = Form.parse(webhook.body)
        raw = webhook.body.decode("utf-8", errors="replace")
        reference = Reference.parse(parse_qs(urlsplit(webhook.url).query).get("ref", [""])[0])
        sid, status = form.first("MessageSid"), form.first("MessageStatus") or form.first("SmsStatus")
        if not sid or not status:
            digest = hashlib.sha256(webhook.url.encode() + b"\n" + webhook.body).hexdigest()
            return [OtherEvent(f"sha256:{digest}", "unknown", raw, reference=reference)]
        if status in _INBOUND:
            return [_inbound(form, sid, raw)]
        known = STATUSES.get(status)
        if known is None:
            return [OtherEvent(f"{sid}:{status}", status, raw, reference=reference)]
        code = form.first("ErrorCode") or None
        return [
            StatusReport(
                f"{sid}:{status}",
                status,
                raw,
                status=known,
                reference=reference,
                provider_message_id=sid,
                failure=failure_of(code or "30008") if known is ReportedStatus.FAILED else None,
            )
        ]


def _inbound(form: Form, sid: str, raw: str) -> InboundMessage:
    return InboundMessage(
        f"{sid}:received",
        "received",
        raw,
        channel=Channel.SMS,
        sender=form.first("From") or "",
        recipient=form.first("To") or "",
        text=form.first("Body"),
        provider_message_id=sid,
    )


def _check_body_hash(webhook: RawWebhook) -> None:
    given = parse_qs(urlsplit(webhook.url).query).get("bodySHA256", [""])[0]
    if not same(hashlib.sha256(webhook.body).hexdigest(), given):
        raise InvalidSignature("bodySHA256 does not fit the body.")


def _spellings(url: str) -> list[str]:
    """The address with and without its customary port: Twilio signs either."""
    parts = urlsplit(url)
    port = {"https": 443, "http": 80}.get(parts.scheme)
    if parts.port is None and port:
        return [url, parts._replace(netloc=f"{parts.netloc}:{port}").geturl()]
    if parts.port == port:
        return [url, parts._replace(netloc=parts.netloc.rsplit(":", 1)[0]).geturl()]
    return [url]
