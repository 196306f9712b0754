"""A message as its caller wrote it, and how it is written down to tell whether two requests are the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from core.access.reach import EVERYWHERE, Reach
from core.audit.act import Author
from core.messages.content import content_to_json
from core.messages.route import Step, route_to_json
from core.ports import Content
from core.templates.values import TemplateUse


@dataclass(frozen=True, slots=True)
class Answered:
    """A message as a caller names it: `written` is their id, `id` ours, None where that is none of ours."""

    written: str
    id: UUID | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A message as the caller wrote it: exactly one of `phone`, `email` and `whatsapp_user_id` says to whom.

    At most one of `send_at` and `send_after` says when; `expires_in` counts from then. A rehearsal is checked, and
    not stored. `reach` is whom its caller's messages may reach, `author` who hands it in, for the audit log.
    """

    content: Content | TemplateUse
    route: Sequence[Step]
    phone: str | None = None
    email: str | None = None
    whatsapp_user_id: str | None = None
    in_reply_to: Answered | None = None
    idempotency_key: str | None = None
    external_id: str | None = None
    send_at: datetime | None = None
    send_after: timedelta | None = None
    expires_in: timedelta | None = None
    respects_quiet_hours: bool = False
    is_rehearsal: bool = False
    reach: Reach = EVERYWHERE
    author: Author | None = None

    @property
    def recipient(self) -> str:
        """To whom, as it was written."""
        return self.phone or self.email or self.whatsapp_user_id or ""


@dataclass(frozen=True, slots=True)
class ChannelService:
    """Who serves a channel here, and what to say when nobody does; `is_configured` decides which.

    `is_simulated` when no call leaves this machine.
    """

    integration: str
    is_configured: bool
    advice: str = ""
    is_simulated: bool = False


def canonical(draft: Draft, to: str) -> dict[str, Any]:
    """What makes two requests the same, JSON-serialisable; `to` is the address in its one form.

    What was left out is not written, so that a new option does not make old requests different.
    """
    content = draft.content
    optional = {
        "inReplyTo": str(draft.in_reply_to.id or draft.in_reply_to.written) if draft.in_reply_to else None,
        "externalId": draft.external_id,
        "sendAt": draft.send_at.isoformat() if draft.send_at else None,
        "sendAfter": draft.send_after.total_seconds() if draft.send_after is not None else None,
        "expiresIn": draft.expires_in.total_seconds() if draft.expires_in is not None else None,
        "respectQuietHours": draft.respects_quiet_hours or None,
        # What a test key sent is not what another key asks for, though every word is the same.
        "simulatedOnly": draft.reach.simulated_only or None,
    }
    return {
        "to": to,
        "content": content.canonical() if isinstance(content, TemplateUse) else content_to_json(content),
        "route": route_to_json(draft.route),
        **{name: value for name, value in optional.items() if value is not None},
    }
