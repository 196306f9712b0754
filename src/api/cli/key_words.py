"""API keys in a terminal's words."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from api.cli.clocks import minute
from api.cli.failures import Exit, Failure

if TYPE_CHECKING:
    from core.access.api_keys import ApiKey
    from core.addresses import Address


def read_recipients(written: Sequence[str]) -> Sequence["Address"]:
    """Read numbers and addresses; raises Failure."""
    # Here, because telephone numbers bring a large table, and help should not wait for that.
    from core.addresses import email_address, phone_address
    from core.errors import InvalidInput

    try:
        return [email_address(one, path=[]) if "@" in one else phone_address(one, path=[]) for one in written]
    except InvalidInput as error:
        raise Failure(f"--recipient: {error.message}", Exit.USAGE) from None


def standing(key: "ApiKey") -> str:
    """Whether a key lets anybody in, and until when."""
    if key.revoked_at is not None:
        return f"revoked {minute(key.revoked_at)}"
    if key.expires_at is None:
        return "without an end"
    return f"{'ended' if key.expires_at <= datetime.now(UTC) else 'until'} {minute(key.expires_at)}"


def as_json_of(key: "ApiKey") -> dict[str, Any]:
    """A key as a program reads it, spelled as over GraphQL."""
    return {
        "prefix": key.prefix,
        "name": key.name,
        "kind": key.kind,
        "scopes": list(key.scopes),
        "allowedRecipients": list(key.recipients_masked),
        "createdBy": key.created_by,
        "isOrphaned": key.is_orphaned,
        "createdAt": key.created_at.isoformat(),
        "expiresAt": _moment(key.expires_at),
        "lastUsedAt": _moment(key.last_used_at),
        "revokedAt": _moment(key.revoked_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
