"""Where a reader stands in the stream of what happened: a cursor that overlapping commits cannot outrun.

Neither sequences nor transaction ids come to light in their order: the lower of two may be committed later. So a place
is not a number but what could be seen from it, as PostgreSQL's snapshots say exactly: every transaction below `xmax`
but those that were still running.
"""

import base64
import binascii
import re
from dataclasses import dataclass, replace
from hashlib import blake2b
from uuid import UUID

_LONGEST = 16_384
_WRITTEN = re.compile(r"(1|opening);([0-9a-f]{8});(\d{1,18});([\d:,]+);([\d:,]*);(\d{1,18})", re.ASCII)
_SNAPSHOT = re.compile(r"(\d{1,18}):((?:\d{1,18})?(?:,\d{1,18})*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What could be seen at a moment: all that was committed below `xmax`, but for those still `running`."""

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
        """Whether what a transaction did could be seen, provided that it was committed."""
        return transaction < self.xmax and transaction not in self.running

    def is_older_than(self, other: "Snapshot") -> bool:
        """Whether it was taken before: PostgreSQL's snapshots are in one line, each shows all an older one does."""
        return (self.xmax, -len(self.running)) < (other.xmax, -len(other.running))


@dataclass(frozen=True, slots=True)
class Cursor:
    """All that `seen` shows is behind it, and of what `ahead` shows as much as goes up to `sequence`.

    `at` is the database's clock when the last of it was read, in seconds since 1970. From an opening that was not heard
    to its end (`is_opening`) one begins anew.
    """

    at: int
    seen: Snapshot
    ahead: Snapshot | None = None
    sequence: int = 0
    is_opening: bool = False

    @property
    def newest(self) -> Snapshot:
        """The newest thing that was looked at."""
        return self.ahead or self.seen

    def is_past(self, transaction: int, sequence: int) -> bool:
        """Whether an event lies behind it."""
        is_within = self.ahead is not None and self.ahead.shows(transaction) and sequence <= self.sequence
        return is_within or self.seen.shows(transaction)

    def also_past(self, seen: Snapshot) -> "Cursor":
        """Where somebody stands who comes here and was told before of all that `seen` shows."""
        return replace(self, seen=seen) if self.seen.is_older_than(seen) else self


def encode_cursor(place: Cursor, tenant: UUID) -> str:
    """Make the cursor of a place; it holds for its tenant alone."""
    ahead = _write(place.ahead) if place.ahead else ""
    kind = "opening" if place.is_opening else "1"
    text = f"{kind};{_mark(tenant)};{place.at};{_write(place.seen)};{ahead};{place.sequence}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str, tenant: UUID) -> Cursor | None:
    """Read a cursor; None for anything not written here for this tenant."""
    if len(cursor) > _LONGEST or not cursor.isascii():
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    found = _WRITTEN.fullmatch(raw.decode(errors="replace"))
    if found is None or found[2] != _mark(tenant):
        return None
    seen, ahead = _read(found[4]), _read(found[5])
    if seen is None or (ahead is None and found[5]):
        return None
    return Cursor(int(found[3]), seen, ahead, int(found[6]), is_opening=found[1] == "opening")


def _mark(tenant: UUID) -> str:
    return blake2b(tenant.bytes, digest_size=4, person=b"changes").hexdigest()


def _write(snapshot: Snapshot) -> str:
    return f"{snapshot.xmax}:{','.join(map(str, sorted(snapshot.running)))}"


def _read(text: str) -> Snapshot | None:
    found = _SNAPSHOT.fullmatch(text)
    if found is None:
        return None
    return Snapshot(int(found[1]), frozenset(int(one) for one in found[2].split(",") if one))
