"""What is already known about documents: the least recently asked for are forgotten first."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

from cachetools import LRUCache

from engine.plan import Refusal
from engine.runnable import Runnable

_LONG = 512

K = TypeVar("K")
T = TypeVar("T")


class Key(NamedTuple):
    """What a plan depends on; `document` is the text, or its digest where the text is long."""

    document: str | bytes
    operation_name: str | None
    introspection: bool

    @classmethod
    def of(cls, text: str, operation_name: str | None, introspection: bool) -> "Key":
        """Make the key of a document."""
        # A lone surrogate cannot be encoded and never parses, but it can be asked for.
        document = text if len(text) < _LONG else blake2b(text.encode(errors="surrogatepass"), digest_size=32).digest()
        return cls(document, operation_name, introspection)


@dataclass(frozen=True, slots=True)
class Room:
    """How much is kept: entries, and characters of the documents they came from."""

    entries: int = 512
    # A parsed document weighs up to 200 bytes for each of its characters.
    characters: int = 524_288


class Shelf(Generic[K, T]):
    """An LRU cache with a limit of entries and one of characters."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._kept: LRUCache[K, tuple[T, int]] = LRUCache(room.characters, getsizeof=lambda kept: kept[1])

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: K) -> T | None:
        """Take what is kept under a key."""
        found = self._kept.get(key)
        return None if found is None else found[0]

    def keep(self, key: K, value: T, characters: int) -> None:
        """Keep a value and evict what was not used for longest; one larger than the cache is not kept."""
        if characters > self._room.characters:
            return
        self._kept[key] = (value, characters)
        while len(self._kept) > self._room.entries:
            self._kept.popitem()


class Documents:
    """Remembers plans, and apart from them refusals, so that nonsense never drives out what is in use."""

    def __init__(self, plans: Room, refusals: Room) -> None:
        self._plans: Shelf[Key, Runnable] = Shelf(plans)
        self._refusals: Shelf[Key, Refusal] = Shelf(refusals)
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._plans) + len(self._refusals)

    def find(self, key: Key) -> Runnable | Refusal | None:
        """Take what is known about a document."""
        known = self._plans.find(key) or self._refusals.find(key)
        if known:
            self.hits += 1
        else:
            self.misses += 1
        return known

    def keep(self, key: Key, plan: Runnable | Refusal, characters: int) -> None:
        """Remember a document."""
        if isinstance(plan, Refusal):
            self._refusals.keep(key, plan, characters)
        else:
            self._plans.keep(key, plan, characters)
