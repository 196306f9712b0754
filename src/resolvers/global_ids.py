"""Global ids: opaque to clients; type and key to us."""

import base64
import binascii
import re
from collections.abc import Sequence
from uuid import UUID

import strawberry

_MAX_LENGTH = 128
_TYPE = re.compile("[A-Z][A-Za-z]{1,40}")


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


def target_of(text: str) -> tuple[str | None, str | None]:
    """The type and key of an object with a UUID, as the audit log names it; (None, None) for any other id."""
    found = from_global_id(text)
    if found is None or not _TYPE.fullmatch(found[0]) or len(found[1]) != 16:
        return None, None
    return found[0], str(UUID(bytes=found[1]))


def target_id(type_name: str | None, key: str | None) -> strawberry.ID | None:
    """The global id of what the audit log names."""
    if type_name is None or key is None:
        return None
    is_uuid = len(key) == 36 and type_name != "Integration"
    return to_global_id(type_name, UUID(key).bytes if is_uuid else key.encode())


def uuid_of(text: str, type_name: str) -> UUID | None:
    """The UUID behind an id of one type; None for other types and for what is no id at all."""
    found = from_global_id(text)
    if found is None or found[0] != type_name or len(found[1]) != 16:
        return None
    return UUID(bytes=found[1])


def uuids(keys: Sequence[bytes]) -> list[UUID]:
    """Read keys that are UUIDs; others are left out."""
    return [UUID(bytes=key) for key in keys if len(key) == 16]
