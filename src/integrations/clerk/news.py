"""Clerk's events as our news. https://clerk.com/docs/guides/development/webhooks/overview

Moments are milliseconds. A deletion names little more than the id, and is as old as the event that tells of it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.ports import Membership, OrganizationNamed, Person, SessionEnded

Json = Mapping[str, Any]
Subject = Person | OrganizationNamed | Membership | SessionEnded

_USER = re.compile("user_[A-Za-z0-9]{1,64}")
_ORGANIZATION = re.compile("org_[A-Za-z0-9]{1,64}")
_SESSION = re.compile("sess_[A-Za-z0-9]{1,64}")
_ROLE = re.compile("[a-z0-9_:-]{1,128}")
_LATEST = 253_402_300_799_000
_LONGEST = 512


@dataclass(frozen=True, slots=True)
class News:
    """What an event comes to."""

    subject: Subject
    at: datetime
    is_deleted: bool


def load(body: bytes) -> Json:
    """The object in a body; an empty one where there is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def read_news(kind: str, content: Json) -> News | None:
    """Read an event; None for one that nothing here acts on, or that lacks what it needs."""
    noun, _, verb = kind.partition(".")
    data = _object(content, "data")
    if noun == "session":
        return _session_news(verb, content, data)
    read = _READERS.get(noun)
    if read is None or verb not in ("created", "updated", "deleted"):
        return None
    is_deleted = verb == "deleted"
    at = _moment(content, "timestamp") if is_deleted else _moment(data, "updated_at")
    subject = read(data)
    return News(subject, at, is_deleted) if subject is not None and at is not None else None


def _session_news(verb: str, content: Json, data: Json) -> News | None:
    """Read the end of a session, which comes under three names; its other events say nothing that matters here."""
    session_id = _matching(_SESSION, data, "id")
    at = _moment(data, "updated_at") or _moment(content, "timestamp")
    if verb not in ("ended", "removed", "revoked") or session_id is None or at is None:
        return None
    return News(SessionEnded(session_id), at, is_deleted=True)


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
    user_id = _matching(_USER, _object(data, "public_user_data"), "user_id")
    organization_id = _matching(_ORGANIZATION, _object(data, "organization"), "id")
    if user_id is None or organization_id is None:
        return None
    return Membership(user_id, organization_id, _matching(_ROLE, data, "role"))


_READERS: Mapping[str, Callable[[Json], Subject | None]] = {
    "user": _person,
    "organization": _organization,
    "organizationMembership": _membership,
}


def _object(data: Json, name: str) -> Json:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _text(data: Json, name: str) -> str | None:
    """A text with whole characters only, and without NUL, which no database keeps."""
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        return None
    return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:_LONGEST]


def _matching(form: re.Pattern[str], data: Json, name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _moment(data: Json, name: str) -> datetime | None:
    value = data.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LATEST:
        return None
    return datetime.fromtimestamp(value / 1000, UTC)
