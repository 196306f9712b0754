"""Twilio's webhooks: their signature, status callbacks and inbound SMS.

https://www.twilio.com/docs/usage/security#validating-requests
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import parse_qs, parse_qsl, urlsplit

from twilio.request_validator import RequestValidator

from core.errors import InvalidSignature
from core.ports import (
    Channel,
    Failure,
    InboundMessage,
    OtherEvent,
    ProviderEvent,
    RawWebhook,
    Reference,
    ReportedStatus,
    StatusReport,
)
from integrations.http_client import equal_in_constant_time
from integrations.twilio.errors import ERRORS
from integrations.twilio.settings import Settings

# Twilio → ours. The states before "sent" say only that Twilio has accepted the message, as its answer did.
STATUSES: Mapping[str, ReportedStatus] = {
    "sent": ReportedStatus.SENT,
    "delivered": ReportedStatus.DELIVERED,
    "partially_delivered": ReportedStatus.DELIVERED,
    "read": ReportedStatus.READ,
    "undelivered": ReportedStatus.FAILED,
    "failed": ReportedStatus.FAILED,
    "canceled": ReportedStatus.FAILED,
}
RETRY_FRAGMENT = "#rc=5&rp=all"
"""Ends the address of a callback: without it, Twilio retries once, and only where no connection was made."""
_INBOUND = frozenset({"received", "receiving"})
_SID = re.compile("[A-Z]{2}[0-9a-fA-F]{32}")
_WORD = re.compile("[A-Za-z_-]{1,64}")
_CODE = re.compile("[1-9][0-9]{4}")
_DEFAULT_PORTS = {"https": 443, "http": 80}
_MAX_FIELDS = 1_000
"""Twilio sends about thirty; the limit keeps a forged form with a million from costing us time."""


class Form(dict[str, list[str]]):
    """A form as Twilio's validator expects it; fields with blank values stay, since they are signed too."""

    @classmethod
    def parse(cls, body: bytes) -> "Form":
        """Read a body; raises ValueError where it has more fields than any webhook."""
        form = cls()
        text = body.decode("utf-8", errors="replace")
        for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS):
            form.setdefault(name, []).append(value)
        return form

    def getlist(self, name: str) -> list[str]:
        return self[name]

    def first(self, name: str) -> str:
        """Return a field's value; empty where there is none. NUL, which PostgreSQL cannot store, is replaced."""
        return self.get(name, [""])[0].replace("\0", "\ufffd")


class TwilioWebhooks:
    """Verifies and reads one account's webhooks; each configured auth token is accepted, so that it can be rotated."""

    def __init__(self, settings: Settings) -> None:
        self._validators = [RequestValidator(token.get_secret_value()) for token in settings.auth_tokens]

    def verify(self, webhook: RawWebhook) -> None:
        given = webhook.headers.get("x-twilio-signature", "")
        if not given:
            raise InvalidSignature("X-Twilio-Signature is missing.")
        fields = _signed_fields(webhook)
        for url in _signed_urls(webhook):
            for validator in self._validators:
                # The algorithm is fixed: a header that names another must not weaken it.
                if equal_in_constant_time(validator.compute_signature(url, fields), given):
                    return
        raise InvalidSignature("X-Twilio-Signature does not fit: is PUBLIC_BASE_URL the address Twilio calls?")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        try:
            form = Form.parse(webhook.body)
        except ValueError:
            form = Form()
        raw = webhook.body.decode("utf-8", errors="replace")
        reference = Reference.parse(_query(webhook, "ref"))
        sid, status = form.first("MessageSid"), form.first("MessageStatus") or form.first("SmsStatus")
        if not _SID.fullmatch(sid) or not _WORD.fullmatch(status):
            digest = hashlib.sha256(webhook.url.encode(errors="replace") + b"\n" + webhook.body).hexdigest()
            return [OtherEvent(f"sha256:{digest}", "unknown", raw, reference=reference)]
        if status in _INBOUND:
            return [_inbound(form, sid, raw)]
        known = STATUSES.get(status)
        if known is None:
            return [OtherEvent(f"{sid}:{status}", status, raw, reference=reference)]
        return [
            StatusReport(
                f"{sid}:{status}",
                status,
                raw,
                status=known,
                reference=reference,
                provider_message_id=sid,
                failure=_failure(form) if known is ReportedStatus.FAILED else None,
            )
        ]


def _failure(form: Form) -> Failure:
    code = form.first("ErrorCode")
    return ERRORS.failure(code if _CODE.fullmatch(code) else "")


def _inbound(form: Form, sid: str, raw: str) -> InboundMessage:
    return InboundMessage(
        f"{sid}:received",
        "received",
        raw,
        channel=Channel.SMS,
        sender=form.first("From"),
        recipient=form.first("To"),
        text=form.first("Body"),
        provider_message_id=sid,
    )


def _signed_fields(webhook: RawWebhook) -> Form:
    """Return the fields that the signature covers; for a body that is no form, it covers a hash in the address."""
    given = _query(webhook, "bodySHA256")
    if given or "json" in webhook.headers.get("content-type", "").lower():
        if not equal_in_constant_time(hashlib.sha256(webhook.body).hexdigest(), given):
            raise InvalidSignature("bodySHA256 does not fit the body.")
        return Form()
    try:
        return Form.parse(webhook.body)
    except ValueError as error:
        raise InvalidSignature("The form has more fields than any webhook.") from error


def _query(webhook: RawWebhook, name: str) -> str:
    return parse_qs(urlsplit(webhook.url).query).get(name, [""])[0]


def _signed_urls(webhook: RawWebhook) -> Iterator[str]:
    """Yield the spellings of the address that Twilio may have signed.

    With and without the port, as Twilio's own validator tries it; with the host in lower case; with the user name and
    password of HTTP Basic, where a proxy asks for them. Each of these also with the fragment that ends the address of
    our callbacks: by the documentation it is not signed, but Twilio's library signs it.
    """
    scheme, _, address = webhook.url.partition("://")
    place = re.split("[/?#]", address, maxsplit=1)[0]
    rest = address[len(place) :]
    bare, colon, _ = place.rpartition(":") if re.search(":[0-9]+$", place) else (place, "", "")
    places = [place, bare if colon else f"{place}:{_DEFAULT_PORTS.get(scheme.lower(), 80)}"]
    places += [one.lower() for one in places]
    if login := _basic_credentials(webhook):
        places += [f"{login}@{one}" for one in places]
    for one in dict.fromkeys(places):
        yield f"{scheme}://{one}{rest}"
        yield f"{scheme}://{one}{rest}{RETRY_FRAGMENT}"


def _basic_credentials(webhook: RawWebhook) -> str | None:
    """Return the credentials of HTTP Basic as an address holds them; None where there are none."""
    kind, _, given = webhook.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(given.strip(), validate=True).decode("ascii")
    except ValueError:
        return None
