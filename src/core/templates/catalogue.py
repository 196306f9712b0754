"""Taking over what a company lists: each template once, changed where it has changed, marked where it has vanished."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, Text, cast, column, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from core.characters import is_storable
from core.identifiers import uuid7
from core.ports import Channel, ProviderTemplate, TemplateApproval
from core.templates.read import PLAINLY
from core.templates.tables import templates

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 1_000
"""A statement has at most 32,767 parameters; an account of Meta's has at most 6,000 templates."""
_TAKEN_OVER = ("provider_id", "category", "approval", "approval_detail", "header", "body", "buttons", "examples")


async def take_over(
    connection: AsyncConnection, tenant: UUID, integration: str, channel: Channel, listed: Sequence[ProviderTemplate]
) -> int:
    """Make a tenant's copies what the company lists; returns how many changed. Doing it twice changes nothing."""
    storable = {(one.name, one.locale): one for one in listed if _is_storable(one)}
    if len(storable) < len(listed):
        log.warning("templates_left_out", integration=integration, count=len(listed) - len(storable))
    # In one order for everybody: two workers wait for each other instead of deadlocking.
    rows = [_row(tenant, integration, channel, storable[key]) for key in sorted(storable)]
    changed = 0
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        written = await connection.execute(_upsert(rows[begin : begin + ROWS_AT_ONCE]))
        changed += len(written.all())
    return changed + await _mark_vanished(connection, tenant, integration, list(storable))


def _row(tenant: UUID, integration: str, channel: Channel, one: ProviderTemplate) -> dict[str, Any]:
    return {
        "tenant_id": tenant,
        "id": uuid7(),
        "channel": channel.value,
        "name": one.name,
        "locale": one.locale,
        "integration": integration,
        "provider_id": one.provider_id,
        "category": one.category.value,
        "approval": PLAINLY.get(one.approval, one.approval).value,
        "approval_detail": one.approval.value if one.approval in PLAINLY else None,
        "header": one.header,
        "body": one.body,
        "buttons": [asdict(button) for button in one.buttons],
        "examples": dict(one.examples),
    }


def _upsert(rows: Sequence[dict[str, Any]]) -> ReturningInsert[Any]:
    """Write rows; one that says nothing new is left alone, and so is one of ours that has the name already."""
    statement = insert(templates).values(rows)
    new = {name: statement.excluded[name] for name in _TAKEN_OVER}
    is_news = or_(
        templates.c.gone_at.is_not(None), *(templates.c[name].is_distinct_from(new[name]) for name in _TAKEN_OVER)
    )
    return statement.on_conflict_do_update(
        index_elements=["tenant_id", "channel", "name", "locale"],
        set_={**new, "gone_at": None, "updated_at": func.now()},
        where=(templates.c.integration == statement.excluded["integration"]) & is_news,
    ).returning(templates.c.id)


async def _mark_vanished(
    connection: AsyncConnection, tenant: UUID, integration: str, listed: Sequence[tuple[str, str]]
) -> int:
    names, locales = [name for name, _ in listed], [locale for _, locale in listed]
    there = (
        func.unnest(cast(names, ARRAY(Text)), cast(locales, ARRAY(Text)))
        .table_valued(column("name", Text), column("locale", Text), name="there")
        .render_derived()
    )
    marked = await connection.execute(
        update(templates)
        .where(
            templates.c.tenant_id == tenant,
            templates.c.integration == integration,
            templates.c.gone_at.is_(None),
            tuple_(templates.c.name, templates.c.locale).not_in(select(there.c.name, there.c.locale)),
        )
        .values(
            approval=PLAINLY[TemplateApproval.DISABLED].value,
            approval_detail=TemplateApproval.DISABLED.value,
            gone_at=func.now(),
            updated_at=func.now(),
        )
        .returning(templates.c.id)
    )
    return len(marked.all())


def _is_storable(one: ProviderTemplate) -> bool:
    """Whether PostgreSQL can hold all its texts."""
    texts = [one.name, one.locale, one.provider_id, one.body, one.header or "", *one.examples, *one.examples.values()]
    texts += [button.text for button in one.buttons]
    return all(is_storable(text) for text in texts)
