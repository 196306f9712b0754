"""Believing and reading what Clerk tells us of people and organisations; Svix carries it.

https://docs.svix.com/receiving/verifying-payloads/how-manual
https://clerk.com/docs/guides/development/webhooks/overview
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Sequence

from core.errors import InvalidSignature
from core.ports import DirectoryChanged, OtherEvent, ProviderEvent, RawWebhook
from integrations.clerk.news import Json, load, read_news
from integrations.clerk.settings import Settings
from integrations.kit import same

TOLERANCE = 300
"""Seconds a webhook may be old, or ahead: what was recorded once cannot be played again for ever."""
_ID = re.compile("[A-Za-z0-9_-]{1,128}")
_SECONDS = re.compile("[0-9]{1,11}")
_TYPE = re.compile(r"[A-Za-z_]{1,48}(\.[A-Za-z_]{1,48}){0,3}")
_MOST_SIGNATURES = 32
"""While rotating there are two; a forger's thousand would cost us more than him."""


class ClerkWebhooks:
    """Reads one instance's webhooks; every configured secret is believed, so that it can be changed at leisure."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        # Unlike Stripe's, the key is what stands behind the prefix, decoded.
        self._secrets = [
            base64.b64decode(secret.get_secret_value().removeprefix("whsec_")) for secret in settings.webhook_secrets
        ]
        self._now = now

    def verify(self, webhook: RawWebhook) -> None:
        name, moment, given = (webhook.headers.get(f"svix-{part}", "") for part in ("id", "timestamp", "signature"))
        if not (name and moment and given):
            raise InvalidSignature("One of svix-id, svix-timestamp and svix-signature is missing.")
        if not _ID.fullmatch(name) or not _SECONDS.fullmatch(moment):
            raise InvalidSignature("svix-id or svix-timestamp is none.")
        if abs(self._now() - int(moment)) > TOLERANCE:
            raise InvalidSignature("svix-timestamp is more than five minutes away: is the clock right?")
        signed = f"{name}.{moment}.".encode() + webhook.body
        entries = [text.removeprefix("v1,") for text in given.split(" ")[:_MOST_SIGNATURES] if text.startswith("v1,")]
        for secret in self._secrets:
            ours = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
            if any([same(ours, entry) for entry in entries]):  # noqa: C419  # all of them, in the same time
                return
        raise InvalidSignature("svix-signature does not fit: is CLERK_WEBHOOK_SIGNING_SECRET that of this endpoint?")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        raw, content = webhook.body.decode("utf-8", "replace"), load(webhook.body)
        key, kind = _key(webhook), _type(content)
        news = read_news(kind, content)
        if news is None:
            return [OtherEvent(key, kind, raw)]
        return [DirectoryChanged(key, kind, raw, subject=news.subject, at=news.at, is_deleted=news.is_deleted)]


def _key(webhook: RawWebhook) -> str:
    """The same for a webhook sent again."""
    name = webhook.headers.get("svix-id", "")
    return name if _ID.fullmatch(name) else f"sha256:{hashlib.sha256(webhook.body).hexdigest()}"


def _type(content: Json) -> str:
    kind = content.get("type")
    return kind if isinstance(kind, str) and _TYPE.fullmatch(kind) else "unknown"
