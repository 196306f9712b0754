"""Clerk's webhooks, delivered by Svix: their signature, and their events about people, organisations and sessions.

Times are in milliseconds. A deletion holds little more than the id, and its time is that of the event.

https://docs.svix.com/receiving/verifying-payloads/how-manual
https://clerk.com/docs/guides/development/webhooks/overview
"""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

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
from integrations.clerk.settings import Settings
from integrations.http_client import equal_in_constant_time

Json = Mapping[str, Any]
Subject = Person | OrganizationNamed | Membership | SessionEnded

_USER = re.compile("user_[A-Za-z0-9]{1,64}")
_ORGANIZATION = re.compile("org_[A-Za-z0-9]{1,64}")
_SESSION = re.compile("sess_[A-Za-z0-9]{1,64}")
_ROLE = re.compile("[a-z0-9_:-]{1,128}")
_LAST_MILLISECOND = 253_402_300_799_000
_MAX_TEXT_LENGTH = 512


@dataclass(frozen=True, slots=True)
class DirectoryEvent:
    """A change of a person, an organisation, a membership or a session."""

    subject: Subject
    at: datetime
    is_deleted: bool


def parse_object(body: bytes) -> Json:
    """Return the JSON object in a body; an empty one where there is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_directory_event(kind: str, content: Json) -> DirectoryEvent | None:
    """Read an event; None for one that we do not use, or that lacks a required field."""
    noun, _, verb = kind.partition(".")
    data = _object_under(content, "data")
    if noun == "session":
        return _session_event(verb, content, data)
    read = _READERS.get(noun)
    if read is None or verb not in ("created", "updated", "deleted"):
        return None
    is_deleted = verb == "deleted"
    at = _moment(content, "timestamp") if is_deleted else _moment(data, "updated_at")
    subject = read(data)
    return DirectoryEvent(subject, at, is_deleted) if subject is not None and at is not None else None


def _session_event(verb: str, content: Json, data: Json) -> DirectoryEvent | None:
    """Read the end of a session, which has three names; the other events of sessions are not used."""
    session_id = _matching(_SESSION, data, "id")
    at = _moment(data, "updated_at") or _moment(content, "timestamp")
    if verb not in ("ended", "removed", "revoked") or session_id is None or at is None:
        return None
    return DirectoryEvent(SessionEnded(session_id), at, is_deleted=True)


def _person(data: Json) -> Person | None:
    person_id = _matching(_USER, data, "id")
    if person_id is None:
        return None
    names = [name for name in (_text(data, "first_name"), _text(data, "last_name")) if name]
    return Person(
        person_id,
        name=" ".join(names) or _text(data, "username"),
        email=_primary_email(data),
        avatar_url=_text(data, "image_url"),
        is_banned=data.get("banned") is True,
    )


def _primary_email(data: Json) -> str | None:
    addresses, wanted = data.get("email_addresses"), data.get("primary_email_address_id")
    for one in addresses if isinstance(addresses, list) else []:
        if isinstance(one, dict) and wanted and one.get("id") == wanted:
            return _text(one, "email_address")
    return None


def _organization(data: Json) -> OrganizationNamed | None:
    organization_id = _matching(_ORGANIZATION, data, "id")
    return OrganizationNamed(organization_id, _text(data, "name")) if organization_id else None


def _membership(data: Json) -> Membership | None:
    user_id = _matching(_USER, _object_under(data, "public_user_data"), "user_id")
    organization_id = _matching(_ORGANIZATION, _object_under(data, "organization"), "id")
    if user_id is None or organization_id is None:
        return None
    return Membership(user_id, organization_id, _matching(_ROLE, data, "role"))


_READERS: Mapping[str, Callable[[Json], Subject | None]] = {
    "user": _person,
    "organization": _organization,
    "organizationMembership": _membership,
}


def _object_under(data: Json, name: str) -> Json:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _text(data: Json, name: str) -> str | None:
    """Return a text without halves of surrogate pairs and without NUL, which PostgreSQL cannot store."""
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        return None
    return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:_MAX_TEXT_LENGTH]


def _matching(form: re.Pattern[str], data: Json, name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _moment(data: Json, name: str) -> datetime | None:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LAST_MILLISECOND:
        return None
    return datetime.fromtimestamp(value / 1000, UTC)


TOLERANCE = 300
"""Seconds that a webhook may be old, or ahead of our clock, so that a recorded one cannot be sent again later."""
_ID = re.compile("[A-Za-z0-9_-]{1,128}")
_SECONDS = re.compile("[0-9]{1,11}")
_TYPE = re.compile(r"[A-Za-z_]{1,48}(\.[A-Za-z_]{1,48}){0,3}")
_MAX_SIGNATURES = 32
"""During a rotation there are two; the limit keeps a forged header with thousands from costing us time."""


class ClerkWebhooks:
    """Verifies and reads one instance's webhooks; each configured secret is accepted, so that it can be rotated."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        # Unlike Stripe's, the key is the decoded part after the prefix.
        self._secrets = [
            base64.b64decode(secret.get_secret_value().removeprefix("whsec_")) for secret in settings.webhook_secrets
        ]
        self._now = now

    def verify(self, webhook: RawWebhook) -> None:
        name, moment, given = (webhook.headers.get(f"svix-{part}", "") for part in ("id", "timestamp", "signature"))
        if not (name and moment and given):
            raise InvalidSignature("One of svix-id, svix-timestamp and svix-signature is missing.")
        if not _ID.fullmatch(name) or not _SECONDS.fullmatch(moment):
            raise InvalidSignature("svix-id or svix-timestamp is malformed.")
        if abs(self._now() - int(moment)) > TOLERANCE:
            raise InvalidSignature("svix-timestamp is more than five minutes away: is the clock right?")
        signed = f"{name}.{moment}.".encode() + webhook.body
        entries = [text.removeprefix("v1,") for text in given.split(" ")[:_MAX_SIGNATURES] if text.startswith("v1,")]
        for secret in self._secrets:
            ours = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
            # All entries are compared, so that the time does not depend on which one fits.
            if any([equal_in_constant_time(ours, entry) for entry in entries]):  # noqa: C419
                return
        raise InvalidSignature("svix-signature does not fit: is CLERK_WEBHOOK_SIGNING_SECRET that of this endpoint?")

    def parse(self, webhook: RawWebhook) -> Sequence[ProviderEvent]:
        raw, content = webhook.body.decode("utf-8", "replace"), parse_object(webhook.body)
        key, kind = _key(webhook), _type(content)
        event = read_directory_event(kind, content)
        if event is None:
            return [OtherEvent(key, kind, raw)]
        return [DirectoryChanged(key, kind, raw, subject=event.subject, at=event.at, is_deleted=event.is_deleted)]


def _key(webhook: RawWebhook) -> str:
    """Return the event's key, which is the same when the webhook is sent again."""
    name = webhook.headers.get("svix-id", "")
    return name if _ID.fullmatch(name) else f"sha256:{hashlib.sha256(webhook.body).hexdigest()}"


def _type(content: Json) -> str:
    kind = content.get("type")
    return kind if isinstance(kind, str) and _TYPE.fullmatch(kind) else "unknown"
