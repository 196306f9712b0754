"""What is known of a person, sealed: a name, an e-mail address, a picture."""

import json
from dataclasses import dataclass
from uuid import UUID

from core.sealing import NOBODYS, Sealer

# A person may work for several tenants, and is none's.
_COLUMN = "profile"


@dataclass(frozen=True, slots=True)
class Profile:
    """Whatever is not known is None."""

    name: str | None = None
    email: str | None = None
    avatar_url: str | None = None


def seal_profile(sealer: Sealer, row: UUID, profile: Profile) -> bytes:
    """Close a profile for the row of its person."""
    text = json.dumps({"name": profile.name, "email": profile.email, "avatarUrl": profile.avatar_url})
    return sealer.seal(text, tenant=NOBODYS, row=row, column=_COLUMN)


def open_profile(sealer: Sealer, row: UUID, sealed: bytes | None) -> Profile:
    """Open what `seal_profile` closed; an empty one where nothing was told yet. Raises SealBroken."""
    if sealed is None:
        return Profile()
    data = json.loads(sealer.open(sealed, tenant=NOBODYS, row=row, column=_COLUMN))
    return Profile(data["name"], data["email"], data["avatarUrl"])
