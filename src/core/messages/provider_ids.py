"""Providers' ids of messages: kept sealed, found by a hash whose key is never rotated.

WhatsApp's hold the person's number in base64. Until the contract is applied (`migrations/contracts`), they are kept in
clear as well, for processes of the version before; afterwards the database empties that column whatever is written.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import Row

from core.keyring.catalogue import numbered
from core.privacy.disguise import MARK, known_as
from core.sealing import NOBODYS, SealBroken, Sealer

log = structlog.get_logger(__name__)

_COLUMN = "provider_id"
ERASED = f"^{MARK}[0-9a-f]{{32}}$"
"""What the clear column holds, as PostgreSQL matches it, where the version before erased an id: its hash."""


@dataclass(frozen=True, slots=True)
class ProviderId:
    """A provider's id as a row keeps it: what is not in the row is None."""

    sealed: bytes | None
    lookup: bytes | None
    clear: str | None

    @classmethod
    def of_row(cls, row: Row[Any]) -> "ProviderId | None":
        """What a row of attempts or messages keeps; None where there is nothing."""
        kept = cls(row.provider_id_sealed, row.provider_id_lookup, row.provider_message_id)
        return None if kept == _NOTHING else kept


_NOTHING = ProviderId(None, None, None)


def of_attempt(sealer: Sealer, tenant: UUID, message: UUID, number: int, id: str) -> ProviderId:
    """Make a provider's id what an attempt may keep."""
    sealed = sealer.seal(id, tenant=tenant, row=message, column=numbered(_COLUMN, number))
    return ProviderId(sealed, sealer.id_hash(id), id)


def of_message(sealer: Sealer, tenant: UUID, message: UUID, id: str) -> ProviderId:
    """Make a provider's id what a message that came in may keep."""
    return ProviderId(sealer.seal(id, tenant=tenant, row=message, column=_COLUMN), sealer.id_hash(id), id)


def opened(
    sealer: Sealer, kept: ProviderId | None, tenant: UUID, message: UUID, number: int | None = None
) -> str | None:
    """Read an id back; None where none is kept, or it was erased. Raises SealBroken."""
    if kept is None:
        return None
    if kept.sealed is not None:
        column = _COLUMN if number is None else numbered(_COLUMN, number)
        return sealer.open(kept.sealed, tenant=tenant, row=message, column=column)
    return None if kept.clear is None or hash_of_erased(kept.clear) else kept.clear


def opened_or_none(
    sealer: Sealer, kept: ProviderId | None, tenant: UUID, message: UUID, number: int | None = None
) -> str | None:
    """The same, and None with a line in the log where it cannot be opened: it is worth less than what it stands in."""
    try:
        return opened(sealer, kept, tenant, message, number)
    except SealBroken as error:
        log.warning("provider_id_unreadable", message_id=str(message), reason=str(error))
        return None


def lookups(sealer: Sealer, id: str) -> Sequence[bytes]:
    """Every hash under which a row may hold an id: its own, and those that stood in for it once it was erased."""
    return [sealer.id_hash(id), *sealer.lookup_hashes(id, tenant=NOBODYS)]


def clear_forms(sealer: Sealer, id: str) -> Sequence[str]:
    """Every form in which a row of the version before may hold an id."""
    return known_as(sealer, id)


def hash_of_erased(clear: str) -> bytes | None:
    """The hash that the version before left in the clear column in place of an erased id; None for an id."""
    return bytes.fromhex(clear.removeprefix(MARK)) if re.search(ERASED, clear) else None
