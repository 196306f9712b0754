"""A message ready to be stored, what became of it, and the message its caller is shown."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from core.errors import AppError
from core.idempotency import IdempotentRequest
from core.messages.addresses import sought
from core.messages.check import Checked
from core.messages.read import Message
from core.messages.values import Direction, MessageStatus
from core.sealing import Sealer


@dataclass(frozen=True, slots=True)
class Member:
    """A message on its way into the database, sealed; `send_at` and `send_after` are what was made of its schedule."""

    tenant_id: UUID
    message_id: UUID
    checked: Checked
    request: IdempotentRequest | None
    to_sealed: bytes
    to_hash: bytes
    content_sealed: bytes
    send_at: datetime | None = None
    send_after: timedelta | None = None
    batch_id: UUID | None = None

    @property
    def template_id(self) -> UUID | None:
        """The template it was made of."""
        filled = self.checked.worded.filled
        return filled.template_id if filled else None

    @property
    def in_reply_to(self) -> UUID | None:
        """The message it answers."""
        answered = self.checked.draft.in_reply_to
        return answered.id if answered else None

    @property
    def within(self) -> timedelta | None:
        """How long its first step has; nothing follows the last one, which has all the time there is."""
        route = self.checked.route
        return route[0].within if len(route) > 1 else None


@dataclass(frozen=True, slots=True)
class Stored:
    """It is in the database; the times are the database's."""

    status: MessageStatus
    created_at: datetime
    due_at: datetime
    send_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier request had made it already."""

    message_id: UUID


Outcome = Stored | Earlier | AppError
"""What became of a member: kept, known already, or refused."""


def seal(
    checked: Checked,
    sealer: Sealer,
    tenant_id: UUID,
    message_id: UUID,
    *,
    request: IdempotentRequest | None,
    send_at: datetime | None = None,
    batch_id: UUID | None = None,
) -> Member:
    """Make a member of a checked draft; a `send_at` of our own making replaces the caller's schedule."""
    draft, to = checked.draft, checked.address.value
    return Member(
        tenant_id,
        message_id,
        checked,
        request,
        to_sealed=sealer.seal(to, tenant=tenant_id, row=message_id, column="to"),
        to_hash=sealer.lookup_hash(sought(to), tenant=tenant_id),
        content_sealed=sealer.seal(checked.worded.to_json(), tenant=tenant_id, row=message_id, column="content"),
        send_at=send_at or draft.send_at,
        send_after=None if send_at else draft.send_after,
        batch_id=batch_id,
    )


def as_message(member: Member, stored: Stored) -> Message:
    """The message as it now stands, from what is known: nothing has to be read for it."""
    draft = member.checked.draft
    return Message(
        id=member.message_id,
        direction=Direction.OUTBOUND,
        status=stored.status,
        channel=member.checked.route[0].channel,
        route=member.checked.route,
        step=0,
        to_masked=member.checked.address.masked,
        failure=None,
        send_at=stored.send_at,
        next_attempt_at=stored.due_at if stored.status is MessageStatus.QUEUED else None,
        next_look_at=None,
        expires_at=stored.expires_at,
        external_id=draft.external_id,
        batch_id=member.batch_id,
        created_at=stored.created_at,
        updated_at=stored.created_at,
        sent_at=None,
        delivered_at=None,
        read_at=None,
        content=member.checked.worded.content,
        filled=member.checked.worded.filled,
        template_id=member.template_id,
        in_reply_to=member.in_reply_to,
        to=member.checked.address.value,
    )
