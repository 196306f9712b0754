"""What is known of a person, sealed: a name, an e-mail address, a picture."""

import json
from dataclasses import dataclass
from uuid import UUID

import structlog

from core.sealing import NOBODYS, SealBroken, Sealer

log = structlog.get_logger(__name__)

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
    """Open what `seal_profile` closed; an empty one where nothing was told yet, or where it cannot be opened here."""
    if sealed is None:
        return Profile()
    try:
        data = json.loads(sealer.open(sealed, tenant=NOBODYS, row=row, column=_COLUMN))
    except SealBroken as error:
        # Whoever signs in is let in all the same, without a name.
        log.warning("profile_unreadable", user_id=str(row), reason=str(error))
        return Profile()
    return Profile(data["name"], data["email"], data["avatarUrl"])
