"""Global ids: opaque to clients, the type and our own key to us."""

import base64
import binascii
from uuid import UUID

import strawberry

_MAX_LENGTH = 128


def to_global_id(type_name: str, key: bytes) -> strawberry.ID:
    """Make the id of an object."""
    return strawberry.ID(base64.urlsafe_b64encode(type_name.encode() + b":" + key).rstrip(b"=").decode())


def from_global_id(text: str, *, longest: int = _MAX_LENGTH) -> tuple[str, bytes] | None:
    """Read an id; None for anything this server would not have made."""
    if len(text) > longest or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    type_name, colon, key = raw.partition(b":")
    return (type_name.decode(errors="replace"), key) if colon else None


def uuid_of(text: str, type_name: str) -> UUID | None:
    """The UUID behind an id of one type; None for other types and for what is no id at all."""
    found = from_global_id(text)
    if found is None or found[0] != type_name or len(found[1]) != 16:
        return None
    return UUID(bytes=found[1])
