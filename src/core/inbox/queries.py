"""Reading the inbox; the providers' payloads are redacted.

Of a payload, codes, ids, states and moments are shown, of all providers alike; any other field is masked.
"""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qsl
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import Unreadable
from core.inbox.tables import WebhookStatus, inbox
from core.masking import encodes_phone_number
from core.nouns import SubjectKey
from core.pagination import PageRequest, TimeRange, in_range, read_page, storable
from core.sealing import SealBroken, Sealer

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

MASK = "••••"
_DEEPEST = 32
_MOST_FIELDS = 1_000

# Compared in lower-case letters and digits only, so that MessageSid and message_sid are the same.
_SHOWN_FIELDS = frozenset(
    {
        # ids: ours, the provider's, the account's; never one that is a person's number
        "id",
        "sid",
        "messageid",
        "messagesid",
        "smssid",
        "smsmessagesid",
        "accountsid",
        "messagingservicesid",
        "phonenumberid",
        "messagetemplateid",
        "bizopaquecallbackdata",
        "fbtraceid",
        # what happened
        "status",
        "messagestatus",
        "smsstatus",
        "event",
        "type",
        "object",
        "field",
        "messagingproduct",
        "direction",
        "origin",
        # codes
        "code",
        "errorcode",
        "errorsubcode",
        "reason",
        # how it is counted and billed
        "numsegments",
        "nummedia",
        "billable",
        "pricingmodel",
        "category",
        "mimetype",
        "apiversion",
        "version",
        "messagetemplatelanguage",
    }
)
_MOMENTS = frozenset(
    {"timestamp", "createdat", "created", "datecreated", "datesent", "rawdlrdonedate", "expirationtimestamp"}
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,63}")
# One word: no space, no @, no leading plus.
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/=-]{0,255}")
# As long as a telephone number or a citizen's number; the providers' own ids are longer, their codes shorter.
_PERSONS_NUMBER = re.compile(r"[0-9]{7,14}")


def redacted(raw: str) -> Json:
    """Read JSON or a form and mask what may be personal; None where there is nothing to read."""
    if not raw.strip():
        return None
    try:
        return _value(json.loads(raw), "", 0)
    except RecursionError:
        return MASK
    except ValueError:
        return _form(raw)


def _form(raw: str) -> Json:
    try:
        fields = parse_qsl(raw, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return MASK
    return _object(fields, 0)


def _value(value: object, name: str, depth: int) -> Json:
    match value:
        case _ if depth > _DEEPEST:
            return MASK
        case dict():
            return _object(value.items(), depth)
        case list():
            return [_value(one, name, depth + 1) for one in value]
        case None | bool():
            return value
        case int():
            # JavaScript cannot read larger numbers exactly.
            known = value if abs(value) < 2**53 else str(value)
            return known if _is_harmless(str(value), name) else MASK
        case str():
            return value if _is_harmless(value, name) else MASK
        case _:
            return MASK


def _object(fields: Iterable[tuple[object, object]], depth: int) -> dict[str, Json]:
    # A name can contain a person's number as well as a value can.
    named = ((name if isinstance(name, str) and _NAME.fullmatch(name) else MASK, value) for name, value in fields)
    return {name: _value(value, name, depth + 1) for name, value in named}


def _is_harmless(text: str, name: str) -> bool:
    if not text:
        return True
    compared = re.sub("[^a-z0-9]", "", name.lower())
    if compared in _MOMENTS:
        return _WORD.fullmatch(text) is not None and not text.isalpha()
    if compared not in _SHOWN_FIELDS or _WORD.fullmatch(text) is None:
        return False
    # WhatsApp's ids of messages hold the person's number in base64.
    return not _PERSONS_NUMBER.fullmatch(text) and not encodes_phone_number(text)


LARGEST_PAYLOAD = 256 * 1024
"""Bytes of a payload; larger ones are not shown."""

_PLAIN_COLUMNS = [column for column in inbox.columns if not column.name.endswith("_sealed")]


@dataclass(frozen=True, slots=True)
class Webhook:
    """An event that a provider sent."""

    id: UUID
    integration: str
    dedupe_key: str
    event_type: str
    status: WebhookStatus
    subject: SubjectKey | None
    error: str | None
    attempts: int
    received_at: datetime
    processed_at: datetime | None


@dataclass(frozen=True, slots=True)
class WebhookFilter:
    """All given conditions must hold; a list holds when any of its values does, an empty one never."""

    integrations: Sequence[str] | None = None
    statuses: Sequence[WebhookStatus] | None = None
    event_type: str | None = None
    subject: SubjectKey | None = None
    received: TimeRange = field(default_factory=TimeRange)


async def webhooks_by_id(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, Webhook]:
    """Read a tenant's webhooks by id; those it does not have are left out."""
    rows = await connection.execute(
        select(*_PLAIN_COLUMNS).where(inbox.c.tenant_id == tenant, inbox.c.id.in_(list(ids)))
    )
    return {row.id: _webhook(row) for row in rows}


async def webhooks_page(
    connection: AsyncConnection, tenant: UUID, which: PageRequest, condition: WebhookFilter
) -> tuple[Sequence[Webhook], bool]:
    """Read one page of a tenant's webhooks, newest first, and whether there are more."""
    rows, has_more = await read_page(
        connection, _filtered(select(*_PLAIN_COLUMNS), tenant, condition), inbox.c.id, which
    )
    return [_webhook(row) for row in rows], has_more


async def webhook_payloads(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, ids: Collection[UUID]
) -> dict[UUID, "Json | Unreadable"]:
    """Open payloads, redacted; one that is too large is left out, and one that cannot be opened is Unreadable."""
    rows = await connection.execute(
        select(inbox.c.id, inbox.c.raw_sealed).where(
            inbox.c.tenant_id == tenant,
            inbox.c.id.in_(list(ids)),
            inbox.c.raw_sealed.is_not(None),
            func.octet_length(inbox.c.raw_sealed) <= LARGEST_PAYLOAD,
        )
    )
    found: dict[UUID, Json | Unreadable] = {}
    for row in rows:
        try:
            found[row.id] = redacted(sealer.open(row.raw_sealed, tenant=tenant, row=row.id, column="raw"))
        except SealBroken:
            found[row.id] = Unreadable(sealer.missing_key(row.raw_sealed))
    return found


def _filtered(statement: Select[Any], tenant: UUID, condition: WebhookFilter) -> Select[Any]:
    statement = statement.where(inbox.c.tenant_id == tenant)
    if condition.integrations is not None:
        statement = statement.where(inbox.c.integration.in_(condition.integrations))
    if condition.statuses is not None:
        statement = statement.where(_is_one_of(condition.statuses))
    if condition.event_type is not None:
        statement = statement.where(inbox.c.event_type.in_(storable([condition.event_type])))
    if (subject := condition.subject) is not None:
        statement = statement.where(inbox.c.subject_id == subject.id, inbox.c.subject_kind == subject.kind)
    return in_range(statement, condition.received, inbox.c.received_at, inbox.c.id)


def _is_one_of(statuses: Sequence[WebhookStatus]) -> ColumnElement[bool]:
    # Literals instead of parameters: only then the partial index on FAILED is used.
    return inbox.c.status.in_([literal_column(f"'{status.value}'") for status in statuses])


def _webhook(row: Row[Any]) -> Webhook:
    return Webhook(
        id=row.id,
        integration=row.integration,
        dedupe_key=row.dedupe_key,
        event_type=row.event_type,
        status=WebhookStatus(row.status),
        subject=None if row.subject_id is None else SubjectKey(row.subject_kind, row.subject_id),
        error=row.error,
        attempts=row.attempts,
        received_at=row.received_at,
        processed_at=row.processed_at,
    )
