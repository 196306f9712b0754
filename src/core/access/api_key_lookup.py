"""API keys: their format, and looking them up.

A key is `ia_live_` · a name of 12 characters · `_` · a secret of 43 · a checksum of 6. Prefix and checksum serve secret
scanners: they recognise a key without a query. The checksum also distinguishes a mistyped key from an unknown one
without asking the database."""

import asyncio
import hashlib
import hmac
import json
import re
import secrets
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from cachetools import TTLCache
from sqlalchemy import ARRAY, Row, Text, Uuid, bindparam, or_, text, update

from core.access.tables import api_keys
from core.database import Database
from core.errors import AppError, Unauthenticated
from core.group_commit import GroupLookup
from core.ports.identity import UNRESTRICTED, ActorKind, Principal, Reach, Scope
from core.sealing import SealBroken, Sealer
from core.words import say

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NAME, _SECRET, _CHECKSUM = 12, 43, 6
_MARK = "ia_"


class KeyKind(StrEnum):
    """Which recipients the messages of a key may reach."""

    LIVE = "LIVE"
    ALLOW_LIST = "ALLOW_LIST"
    TEST = "TEST"


_FORM_WORDS = {KeyKind.LIVE: "live", KeyKind.ALLOW_LIST: "allow", KeyKind.TEST: "test"}
PATTERN = rf"ia_(live|allow|test)_([0-9A-Za-z]{{{_NAME}}})_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}"
"""For secret scanners; what matches is a key if its checksum fits."""
_SHAPE = re.compile(PATTERN, re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyParts:
    """The parts of a key: the name it is found by, and the hash it is verified with."""

    kind: KeyKind
    name: str
    hash: bytes = field(repr=False)


def generate_key(kind: KeyKind) -> tuple[str, KeyParts]:
    """Make a key with 256 random bits; the text is shown once and never stored."""
    name = "".join(secrets.choice(_DIGITS) for _ in range(_NAME))
    body = f"{_MARK}{_FORM_WORDS[kind]}_{name}_{_base62(secrets.randbits(256), _SECRET)}"
    text = body + _checksum(body)
    return text, KeyParts(kind, name, _hash(text))


def looks_like_key(token: str) -> bool:
    """Whether a token has the prefix of API keys, which no other kind of token has."""
    return token.startswith(_MARK)


def parse_key(token: str) -> KeyParts | None:
    """Split a key into its parts; None for text that is not a whole key."""
    found = _SHAPE.fullmatch(token)
    if found is None or _checksum(token[:-_CHECKSUM]) != token[-_CHECKSUM:]:
        return None
    kind = next(kind for kind, word in _FORM_WORDS.items() if word == found[1])
    return KeyParts(kind, found[2], _hash(token))


def key_prefix(kind: KeyKind, name: str) -> str:
    """The beginning of a key: it identifies the key and holds no secret."""
    return f"{_MARK}{_FORM_WORDS[kind]}_{name}"


def key_name_in(text: str) -> str | None:
    """The name in a key, or in its prefix; None where there is none."""
    found = re.fullmatch(rf"ia_(?:live|allow|test)_([0-9A-Za-z]{{{_NAME}}})(?:_[0-9A-Za-z]*)?", text, re.ASCII)
    return None if found is None else found[1]


def _hash(token: str) -> bytes:
    # No slow hash is needed: 256 random bits cannot be guessed, and this runs with every request.
    return hashlib.sha256(token.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


# Verifying API keys: the checksum first, without a query, and then the stored key, which is cached for two seconds.
#
# Keys are looked up in one statement at a time for all that were presented meanwhile, so that a flood costs no more.


RECIPIENTS_COLUMN = "recipients"

log = structlog.get_logger(__name__)

# The tenant is not known yet: the function returns keys in a transaction without tenants.
_PRESENTED = text("SELECT * FROM keys_presented(:wanted)").bindparams(bindparam("wanted", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key as the database had it when it was looked up."""

    id: UUID
    tenant_id: UUID
    name: str
    kind: KeyKind
    hash: bytes = field(repr=False)
    scopes: frozenset[str]
    reach: Reach
    expires_at: datetime | None
    is_expired: bool
    is_revoked: bool


class ApiKeyLookup:
    """Finds keys by their names."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer
        self._keys: GroupLookup[str, StoredKey] = GroupLookup(self._look_up)

    async def find(self, name: str) -> StoredKey | None:
        """The stored key; None where there is none of that name. Raises Overloaded."""
        return await self._keys.find(name)

    async def _look_up(self, names: Sequence[str]) -> dict[str, StoredKey]:
        async with self._database.transaction() as connection:
            rows = (await connection.execute(_PRESENTED, {"wanted": names})).all()
        return {row.public_id: self._known(row) for row in rows}

    def _known(self, row: Row[Any]) -> StoredKey:
        kind = KeyKind(row.kind)
        return StoredKey(
            id=row.id,
            tenant_id=row.tenant_id,
            name=row.public_id,
            kind=kind,
            hash=row.secret_hash,
            scopes=frozenset(row.scopes),
            reach=self._reach(kind, row),
            expires_at=row.expires_at,
            is_expired=row.is_expired,
            is_revoked=row.is_revoked,
        )

    def _reach(self, kind: KeyKind, row: Row[Any]) -> Reach:
        match kind:
            case KeyKind.LIVE:
                return UNRESTRICTED
            case KeyKind.TEST:
                return Reach(simulated_only=True)
            case KeyKind.ALLOW_LIST:
                return Reach(recipients=self._recipients(row))

    def _recipients(self, row: Row[Any]) -> frozenset[str]:
        try:
            opened = self._sealer.open(
                row.recipients_sealed or b"", tenant=row.tenant_id, row=row.id, column=RECIPIENTS_COLUMN
            )
        except SealBroken as error:
            # A list that cannot be opened counts as empty: the key is valid, and its messages reach no one.
            log.error("recipients_unreadable", key=row.public_id, reason=str(error))
            return frozenset()
        return frozenset(json.loads(opened))


CACHE_SECONDS = 2.0
"""How long a looked-up key is used: a key revoked by another process may be accepted for so long."""
USED_SECONDS = 60.0
"""The last use of a key is recorded once in so many seconds."""
CACHE_SIZE = 10_000
KEY_SUBJECT = "key:"


class KeyFault(StrEnum):
    """Why a key is refused."""

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"


_WORDS = {
    KeyFault.MALFORMED: say("API_KEY_MALFORMED", "This API key is incomplete or mistyped. Copy it again."),
    KeyFault.UNKNOWN: say("API_KEY_UNKNOWN", "This server does not know this API key."),
    KeyFault.REVOKED: say("API_KEY_REVOKED", "This API key was revoked."),
    KeyFault.EXPIRED: say("API_KEY_EXPIRED", "This API key has expired."),
}


class KeyRefused(Unauthenticated):
    """An API key is refused; `reason` says why, `name` which key it was, where that is known."""

    def __init__(self, reason: KeyFault, name: str | None = None) -> None:
        super().__init__(_WORDS[reason])
        self.reason = reason
        self.name = name


class ApiKeyVerifier:
    """Authenticates servers that present an API key."""

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._finder = ApiKeyLookup(database, sealer)
        self._known: TTLCache[str, StoredKey] = TTLCache(CACHE_SIZE, CACHE_SECONDS, clock)
        # Apart from the known keys, so that invented ones evict none of those.
        self._unknown: TTLCache[str, bool] = TTLCache(CACHE_SIZE, CACHE_SECONDS, clock)
        self._used: TTLCache[str, bool] = TTLCache(CACHE_SIZE, USED_SECONDS, clock)
        self._notes: set[asyncio.Task[None]] = set()

    async def authenticate(self, token: str) -> Principal:
        """The principal of a key; raises KeyRefused, and Overloaded where the database cannot be read."""
        presented = parse_key(token)
        if presented is None:
            raise KeyRefused(KeyFault.MALFORMED)
        known = await self._find(presented.name)
        if (fault := _fault(presented, known)) or known is None:
            raise KeyRefused(fault or KeyFault.UNKNOWN, presented.name)
        self._note_use(known)
        return _principal(known)

    async def is_still_valid(self, principal: Principal) -> bool:
        """Whether the key of an earlier call is still valid; raises Overloaded."""
        known = await self._find(principal.subject.removeprefix(KEY_SUBJECT))
        return known is not None and not known.is_revoked and not known.is_expired

    def forget(self, name: str) -> None:
        """Look a key up again at its next use: it was changed here."""
        self._known.pop(name, None)

    async def close(self) -> None:
        """Wait until the last uses are recorded."""
        await asyncio.gather(*self._notes)

    async def _find(self, name: str) -> StoredKey | None:
        if (known := self._known.get(name)) is not None:
            return known
        if name in self._unknown:
            return None
        found = await self._finder.find(name)
        if found is None:
            self._unknown[name] = True
        else:
            self._known[name] = found
        return found

    def _note_use(self, known: StoredKey) -> None:
        """Record that a key is used, in a task of its own."""
        if known.name in self._used:
            return
        self._used[known.name] = True
        task = asyncio.create_task(self._write_use(known))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _write_use(self, known: StoredKey) -> None:
        try:
            async with self._database.transaction(known.tenant_id) as connection:
                await connection.execute(_RECORD_USE, {"of_tenant": known.tenant_id, "of_key": known.id})
        except AppError as error:
            log.warning("key_use_not_noted", key=known.name, reason=error.message)


# Of several processes, one records it.
_RECORD_USE = (
    update(api_keys)
    .where(
        api_keys.c.tenant_id == bindparam("of_tenant", type_=Uuid),
        api_keys.c.id == bindparam("of_key", type_=Uuid),
        or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < text("now() - interval '1 minute'")),
    )
    .values(last_used_at=text("now()"))
)


def _fault(presented: KeyParts, known: StoredKey | None) -> KeyFault | None:
    if known is None or not hmac.compare_digest(known.hash, presented.hash):
        return KeyFault.UNKNOWN
    if known.is_revoked:
        return KeyFault.REVOKED
    return KeyFault.EXPIRED if known.is_expired else None


def _principal(known: StoredKey) -> Principal:
    return Principal(
        known.tenant_id,
        f"{KEY_SUBJECT}{known.name}",
        # A scope that this version does not know is left out.
        frozenset(scope for scope in Scope if scope in known.scopes),
        known.expires_at.timestamp() if known.expires_at else None,
        api_key=known.id,
        reach=known.reach,
        kind=ActorKind.KEY,
    )
