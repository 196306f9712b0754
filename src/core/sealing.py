"""Sealed columns: personal data is stored encrypted and bound to its place, so that no value works in another row.

A sealed value is `1 · length of key id · key id · nonce (12) · ciphertext and tag` under AES-256-GCM, with tenant, row
and column as additional data. Beside an address stands a keyed hash for exact look-up, made anew with every key. A
provider's id has a hash that is never replaced: its secret is sealed in the database (`core/sealing.py`).

All sealed columns are found in the definitions of the tables, so that rotation covers a new one at once. A column
`X_sealed` is sealed for its row's tenant (`NO_TENANT` in a table without one), the row's `id`, and the name `X`. A
table without an id names in `info["sealed_for"]` the two columns that replace it: the row's id, and a number that is
added to the name. A column `X_hash` beside it is the look-up hash of the same address, made anew with it; a column
`X_lookup` is a hash that is never replaced.
"""

import hashlib
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Column, DateTime, LargeBinary, MetaData, Table, Uuid, func, select
from sqlalchemy.dialects.postgresql import insert

from core.database import Database, metadata

_VERSION = 1
_NONCE = 12
NO_TENANT = UUID(int=0)
"""The tenant in sealed values of rows that belong to no tenant."""


class SealBroken(Exception):
    """A sealed value cannot be opened: its key is missing, it was altered, or it belongs to another place."""


class KeyMissing(SealBroken):
    """A sealed value cannot be opened here: the key named `key` is not among ENCRYPTION_KEYS."""

    def __init__(self, column: str, key: str) -> None:
        super().__init__(f"{column}: sealed with key {key!r}, which is not among ENCRYPTION_KEYS")
        self.key = key


class Sealer:
    """Seals with the first key, opens with any; `keys` maps key ids to 32 bytes, the current one first."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("At least one encryption key is needed.")
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self._lookup_keys = [hmac.digest(key, b"interalpha address look-up", hashlib.sha256) for key in keys.values()]
        self._names = list(keys)
        self._current = self._names[0]
        self._id_secret: bytes | None = None

    def __repr__(self) -> str:
        return f"Sealer(current={self._current!r})"

    def seal(self, plaintext: str, *, tenant: UUID, row: UUID, column: str) -> bytes:
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._current].encrypt(nonce, plaintext.encode(), _place(tenant, row, column))
        return self.head() + nonce + sealed

    def open(self, sealed: bytes, *, tenant: UUID, row: UUID, column: str) -> str:
        """Open what `seal` closed for the same place; raises SealBroken."""
        if len(sealed) < 2 or sealed[0] != _VERSION:
            raise SealBroken(f"{column}: not a sealed value of a known version")
        name_end = 2 + sealed[1]
        name = sealed[2:name_end].decode(errors="replace")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise KeyMissing(column, name)
        nonce, ciphertext = sealed[name_end : name_end + _NONCE], sealed[name_end + _NONCE :]
        try:
            return cipher.decrypt(nonce, ciphertext, _place(tenant, row, column)).decode()
        except (InvalidTag, ValueError) as error:
            # ValueError: a truncated value may lack a whole nonce.
            raise SealBroken(f"{column}: altered, or moved from another row") from error

    @property
    def key_names(self) -> Sequence[str]:
        """The ids of the keys, the current one first."""
        return self._names

    def missing_key(self, sealed: bytes) -> str | None:
        """The name of the key a value is sealed with, if it is not one of these."""
        if len(sealed) < 3 or sealed[0] != _VERSION:
            return None
        name = sealed[2 : 2 + sealed[1]].decode(errors="replace")
        return None if name in self._ciphers else name

    @property
    def encoded_names(self) -> list[bytes]:
        """The same as sealed values contain them."""
        return [name.encode() for name in self._names]

    def head(self, name: str | None = None) -> bytes:
        """The first bytes of values sealed with a key: the current one, unless named."""
        encoded = (name or self._current).encode()
        return bytes((_VERSION, len(encoded))) + encoded

    def fingerprints(self, value: str, *, tenant: UUID) -> list[bytes]:
        """Hash a request under every key, the current one first, each with its key's head; then as once without one."""
        hashes = self.lookup_hashes(value, tenant=tenant)
        return [self.head(name) + found for name, found in zip(self._names, hashes, strict=True)] + hashes

    @property
    def can_hash_ids(self) -> bool:
        """Whether it was given the secret of the hashes that are never replaced."""
        return self._id_secret is not None

    def hash_ids_with(self, secret: bytes) -> None:
        """Take the secret of the hashes that are never replaced, as it is in the database."""
        self._id_secret = secret

    def id_hash(self, id: str) -> bytes:
        """Hash a provider's id for exact look-up, the same under whatever keys; raises LookupError without a secret."""
        if self._id_secret is None:
            raise LookupError("The secret of look-up hashes was not read yet.")
        return _keyed(self._id_secret, NO_TENANT, id)

    def lookup_hash(self, value: str, *, tenant: UUID) -> bytes:
        """Hash an address for exact look-up; equal addresses of two tenants differ."""
        return _keyed(self._lookup_keys[0], tenant, value)

    def lookup_hashes(self, value: str, *, tenant: UUID) -> list[bytes]:
        """Hash an address under every key, the current one first: what a look-up must search for during rotation."""
        return [_keyed(key, tenant, value) for key in self._lookup_keys]


def is_readable(column: str) -> str:
    """SQL: whether a sealed column's key is among `:keys`; what is no sealed value counts as readable.

    Only the head of a long value is read: it names the key.
    """
    head = f"substring({column}, 1, 2)"
    return (
        f"CASE WHEN octet_length({column}) > 2 AND get_byte({head}, 0) = {_VERSION}"
        f" THEN substring({column}, 3, get_byte({head}, 1)) = ANY (CAST(:keys AS bytea[])) ELSE true END"
    )


def _keyed(key: bytes, tenant: UUID, value: str) -> bytes:
    return hmac.digest(key, tenant.bytes + value.encode(), hashlib.sha256)[:16]


def _place(tenant: UUID, row: UUID, column: str) -> bytes:
    return tenant.bytes + row.bytes + column.encode()


_SEALED, _HASH = "_sealed", "_hash"


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A sealed column, the name its values are sealed for, and the hash beside it, if there is one."""

    column: Column[bytes]
    name: str
    hash: Column[bytes] | None


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with sealed columns; `tenant` is None where its rows belong to no tenant.

    `number` distinguishes rows that share an id.
    """

    table: Table
    id: Column[UUID]
    tenant: Column[UUID] | None
    columns: Sequence[SealedColumn]
    number: Column[int] | None = None

    def place(self, row: Any, column: SealedColumn) -> dict[str, Any]:
        """What a value of a row is sealed for, as the sealer's arguments; the row has the table's primary key."""
        number = None if self.number is None else getattr(row, self.number.name)
        return {
            "tenant": NO_TENANT if self.tenant is None else getattr(row, self.tenant.name),
            "row": getattr(row, self.id.name),
            "column": column.name if number is None else numbered(column.name, number),
        }


def numbered(name: str, number: int) -> str:
    """The name a value is sealed for in a table whose rows share an id."""
    return f"{name} {number}"


def sealed_tables(metadata: MetaData) -> list[SealedTable]:
    """Find every table with sealed columns; raises LookupError for one whose rows have no `id`."""
    found = []
    for table in metadata.sorted_tables:
        columns = [
            SealedColumn(column, name, table.c.get(f"{name}{_HASH}"))
            for column in table.columns
            if isinstance(column.type, LargeBinary) and column.name.endswith(_SEALED)
            if (name := column.name.removesuffix(_SEALED))
        ]
        id, number = table.info.get("sealed_for", ("id", None))
        if columns and id not in table.c:
            raise LookupError(f"{table.name} holds sealed values, and no `id` they could be sealed for.")
        if columns:
            counted = None if number is None else table.c[number]
            found.append(SealedTable(table, table.c[id], table.c.get("tenant_id"), columns, counted))
    return found


# The secret of the hashes by which providers' ids are found: made once, kept sealed, and never replaced.
#
# So an id has one hash for good, whatever the current encryption key is, and a unique index can keep two messages
# from
# holding the same id. Rotation seals the secret anew like any other value; the hashes stay. See ADR 0034.


lookup_keys = Table(
    "lookup_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


_ROW = UUID(int=1)
"""There is one secret, in one row."""
_COLUMN = "secret"
_BYTES = 32


async def prepare_lookups(database: Database, sealer: Sealer) -> None:
    """Give a sealer this database's secret for hashing ids; the first worker makes it. Later calls cost nothing.

    Raises KeyMissing where the secret is sealed with a key that is not among ENCRYPTION_KEYS.
    """
    if sealer.can_hash_ids:
        return
    kept = select(lookup_keys.c.secret_sealed).where(lookup_keys.c.id == _ROW)
    async with database.transaction() as connection:
        found = (await connection.execute(kept)).scalar()
        if found is None:
            new = b64encode(os.urandom(_BYTES)).decode()
            sealed = sealer.seal(new, tenant=NO_TENANT, row=_ROW, column=_COLUMN)
            await connection.execute(insert(lookup_keys).values(id=_ROW, secret_sealed=sealed).on_conflict_do_nothing())
            # Another worker may have been faster.
            found = (await connection.execute(kept)).scalar_one()
    sealer.hash_ids_with(b64decode(sealer.open(found, tenant=NO_TENANT, row=_ROW, column=_COLUMN)))


async def replace_lookups(database: Database, sealer: Sealer) -> None:
    """Replace a secret whose key is lost: ids hashed before are not found by the new one."""
    new = b64encode(os.urandom(_BYTES)).decode()
    sealed = sealer.seal(new, tenant=NO_TENANT, row=_ROW, column=_COLUMN)
    row = insert(lookup_keys).values(id=_ROW, secret_sealed=sealed)
    async with database.transaction() as connection:
        await connection.execute(
            row.on_conflict_do_update(index_elements=["id"], set_={"secret_sealed": row.excluded.secret_sealed})
        )
