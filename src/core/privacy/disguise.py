"""What is kept in place of an id that spells a person's number, once nobody is to be recognised by it.

A keyed hash stands for the id: a report that names the id still finds it, and so does the same thing told again.
"""

from collections.abc import Sequence

from core.privacy.spelling import spells_a_number
from core.sealing import NOBODYS, Sealer

MARK = "~"


def disguised(sealer: Sealer, id: str) -> str:
    """What is kept in place of an id that spells a number; any other id as it is."""
    return _hidden(sealer.lookup_hash(id, tenant=NOBODYS)) if spells_a_number(id) else id


def known_as(sealer: Sealer, id: str) -> Sequence[str]:
    """Every form in which an id may have been kept, itself first."""
    if not spells_a_number(id):
        return [id]
    return [id, *(_hidden(found) for found in sealer.lookup_hashes(id, tenant=NOBODYS))]


def _hidden(hash: bytes) -> str:
    return f"{MARK}{hash.hex()}"
