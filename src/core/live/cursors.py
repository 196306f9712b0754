"""Cursors of the change feed, which miss no change when transactions overlap.

Neither sequences nor transaction ids become visible in their order: the lower of two may be committed later. So a
cursor is not a number but a snapshot of PostgreSQL's, which says exactly what was visible: every transaction below
`xmax` except those that were still running.
"""

import base64
import binascii
import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from uuid import UUID

_LONGEST = 16_384
_ENCODED = re.compile(r"(1|opening);([0-9a-f]{8});(\d{1,18});([\d:,]+);([\d:,]*);(\d{1,18})", re.ASCII)
_SNAPSHOT = re.compile(r"(\d{1,18}):((?:\d{1,18})?(?:,\d{1,18})*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was visible at a moment: everything committed below `xmax`, except transactions still `running`."""

    xmax: int
    running: frozenset[int] = frozenset()

    @classmethod
    def from_postgres(cls, text: str) -> "Snapshot":
        """Read PostgreSQL's `xmin:xmax:running,running`."""
        _, xmax, running = text.split(":")
        return cls(int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def to_postgres(self) -> str:
        """Write it as PostgreSQL reads it."""
        running = sorted(self.running)
        return f"{running[0] if running else self.xmax}:{self.xmax}:{','.join(map(str, running))}"

    def shows(self, transaction: int) -> bool:
        """Whether a transaction was visible, provided that it was committed."""
        return transaction < self.xmax and transaction not in self.running

    def is_older_than(self, other: "Snapshot") -> bool:
        """Whether it was taken before another one. A newer snapshot shows everything that an older one shows."""
        return (self.xmax, -len(self.running)) < (other.xmax, -len(other.running))


@dataclass(frozen=True, slots=True)
class Cursor:
    """Everything that `seen` shows was read, and of what `ahead` shows, everything up to `sequence`.

    `at` is the database's clock when the last of it was read, in seconds since 1970. With `is_opening` the current
    states were not read to their end, and the subscription begins again.
    """

    at: int
    seen: Snapshot
    ahead: Snapshot | None = None
    sequence: int = 0
    is_opening: bool = False

    @property
    def newest(self) -> Snapshot:
        """The newest snapshot it refers to."""
        return self.ahead or self.seen

    def is_past(self, transaction: int, sequence: int) -> bool:
        """Whether an event was read already."""
        is_within = self.ahead is not None and self.ahead.shows(transaction) and sequence <= self.sequence
        return is_within or self.seen.shows(transaction)

    def also_past(self, seen: Snapshot) -> "Cursor":
        """The cursor of a reader that comes to this one and has read everything that `seen` shows."""
        return replace(self, seen=seen) if self.seen.is_older_than(seen) else self


def encode_cursor(cursor: Cursor, tenant: UUID) -> str:
    """Encode a cursor for a tenant; it is valid for that tenant only."""
    ahead = _encode_snapshot(cursor.ahead) if cursor.ahead else ""
    kind = "opening" if cursor.is_opening else "1"
    text = f"{kind};{_tenant_mark(tenant)};{cursor.at};{_encode_snapshot(cursor.seen)};{ahead};{cursor.sequence}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, tenant: UUID) -> Cursor | None:
    """Decode a cursor; None for anything that was not encoded for this tenant."""
    if len(cursor) > _LONGEST or not cursor.isascii():
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    found = _ENCODED.fullmatch(raw.decode(errors="replace"))
    if found is None or found[2] != _tenant_mark(tenant):
        return None
    seen, ahead = _decode_snapshot(found[4]), _decode_snapshot(found[5])
    if seen is None or (ahead is None and found[5]):
        return None
    return Cursor(int(found[3]), seen, ahead, int(found[6]), is_opening=found[1] == "opening")


def _tenant_mark(tenant: UUID) -> str:
    return blake2b(tenant.bytes, digest_size=4, person=b"changes").hexdigest()


def _encode_snapshot(snapshot: Snapshot) -> str:
    return f"{snapshot.xmax}:{','.join(map(str, sorted(snapshot.running)))}"


def _decode_snapshot(text: str) -> Snapshot | None:
    found = _SNAPSHOT.fullmatch(text)
    if found is None:
        return None
    return Snapshot(int(found[1]), frozenset(int(one) for one in found[2].split(",") if one))
