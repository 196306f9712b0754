"""Catalogue sync: copies of a provider's templates, updated every few minutes and after a webhook about a change."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, Interval, Text, cast, column, func, literal, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from core.characters import is_storable
from core.database import Database
from core.errors import OutcomeUnknown, ProviderError
from core.ids import uuid7
from core.ports import Channel, ProviderTemplate, TemplateApproval, TemplateCatalogue
from core.ports.identity import DEFAULT_TENANT
from core.templates.queries import COARSE_APPROVAL
from core.templates.tables import template_catalogues, templates

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 1_000
"""A statement has at most 32,767 parameters; an account of Meta's has at most 6,000 templates."""
_COPIED = (
    "integration",
    "provider_id",
    "category",
    "approval",
    "approval_detail",
    "header",
    "body",
    "buttons",
    "examples",
)


async def copy_catalogue(
    connection: AsyncConnection, tenant: UUID, integration: str, channel: Channel, listed: Sequence[ProviderTemplate]
) -> int:
    """Update a tenant's copies to what the provider lists; returns how many changed. A repetition changes nothing.

    The channel goes through this provider: copies from one that it went through before become its own, or are gone.
    """
    storable = {(one.name, one.locale): one for one in listed if _is_storable(one)}
    if len(storable) < len(listed):
        log.warning("templates_left_out", integration=integration, count=len(listed) - len(storable))
    # In one order, so that two workers wait for each other instead of deadlocking.
    rows = [_row(tenant, integration, channel, storable[key]) for key in sorted(storable)]
    changed = 0
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        written = await connection.execute(_upsert(rows[begin : begin + ROWS_AT_ONCE]))
        changed += len(written.all())
    return changed + await _mark_removed(connection, tenant, channel, list(storable))


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
        "approval": COARSE_APPROVAL.get(one.approval, one.approval).value,
        "approval_detail": one.approval.value if one.approval in COARSE_APPROVAL else None,
        "header": one.header,
        "body": one.body,
        "buttons": [asdict(button) for button in one.buttons],
        "examples": dict(one.examples),
    }


def _upsert(rows: Sequence[dict[str, Any]]) -> ReturningInsert[Any]:
    """Insert or update rows; leaves rows without changes alone, and templates of our own with the same name."""
    statement = insert(templates).values(rows)
    new = {name: statement.excluded[name] for name in _COPIED}
    is_changed = or_(
        templates.c.gone_at.is_not(None), *(templates.c[name].is_distinct_from(new[name]) for name in _COPIED)
    )
    return statement.on_conflict_do_update(
        index_elements=["tenant_id", "channel", "name", "locale"],
        set_={**new, "gone_at": None, "updated_at": func.now()},
        where=templates.c.integration.is_not(None) & is_changed,
    ).returning(templates.c.id)


async def _mark_removed(
    connection: AsyncConnection, tenant: UUID, channel: Channel, listed: Sequence[tuple[str, str]]
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
            templates.c.channel == channel.value,
            templates.c.integration.is_not(None),
            templates.c.gone_at.is_(None),
            tuple_(templates.c.name, templates.c.locale).not_in(select(there.c.name, there.c.locale)),
        )
        .values(
            approval=COARSE_APPROVAL[TemplateApproval.DISABLED].value,
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


PERIOD = timedelta(minutes=5)
FIRST_PAUSE = timedelta(seconds=5)
"""The pause after a failure; it doubles with each further one, up to PERIOD."""
DEADLINE = 60.0
"""Seconds for reading all pages."""


@dataclass(frozen=True, slots=True)
class CatalogueSync:
    """Copies the templates of one provider and channel to the default tenant, whose account it is."""

    integration: str
    channel: Channel
    catalogue: TemplateCatalogue
    database: Database

    async def read_if_due(self) -> bool:
        """Read and copy the catalogue if it is due and no other worker does it; returns whether it was read."""
        async with self.database.transaction(DEFAULT_TENANT) as connection:
            failures = await _claim_turn(connection, self.integration)
        if failures is None:
            return False
        try:
            listed = await self._read()
        except ProviderError as error:
            # Repeated failures are logged as information only.
            tell = log.info if failures else log.warning
            code = error.provider_code
            tell("templates_not_read", integration=self.integration, reason=error.message, provider_code=code)
            async with self.database.transaction(DEFAULT_TENANT) as connection:
                await _record_failure(connection, self.integration)
            return False
        async with self.database.transaction(DEFAULT_TENANT) as connection:
            changed = await copy_catalogue(connection, DEFAULT_TENANT, self.integration, self.channel, listed)
            await _record_success(connection, self.integration)
        if changed:
            log.info("templates_copied", integration=self.integration, listed=len(listed), changed=changed)
        return True

    async def _read(self) -> list[ProviderTemplate]:
        try:
            async with asyncio.timeout(DEADLINE):
                return list(await self.catalogue.list())
        except TimeoutError:
            words = f"{self.integration} did not list its templates within {DEADLINE:.0f} s."
            raise OutcomeUnknown(words, provider=self.integration) from None
        except ProviderError:
            raise
        except Exception as error:
            log.exception("catalogue_broke", integration=self.integration)
            raise OutcomeUnknown("Its list cannot be read.", provider=self.integration) from error


async def request_sync(connection: AsyncConnection, integration: str) -> None:
    """Make a catalogue due, because its provider says that it changed."""
    row = insert(template_catalogues).values(tenant_id=DEFAULT_TENANT, integration=integration, due_at=func.now())
    await connection.execute(
        row.on_conflict_do_update(index_elements=["tenant_id", "integration"], set_={"due_at": func.now()})
    )


async def _claim_turn(connection: AsyncConnection, integration: str) -> int | None:
    """Claim the reading that is due by setting the next due time. Returns the failures in a row, None if not due."""
    row = insert(template_catalogues).values(
        tenant_id=DEFAULT_TENANT, integration=integration, due_at=func.now() + PERIOD
    )
    taken = await connection.execute(
        row.on_conflict_do_update(
            index_elements=["tenant_id", "integration"],
            set_={"due_at": row.excluded.due_at},
            where=template_catalogues.c.due_at <= func.now(),
        ).returning(template_catalogues.c.failures)
    )
    failures: int | None = taken.scalar_one_or_none()
    return failures


async def _record_failure(connection: AsyncConnection, integration: str) -> None:
    table = template_catalogues
    pause = func.power(2, func.least(table.c.failures, 10)) * cast(literal(FIRST_PAUSE), Interval)
    await connection.execute(
        update(table)
        .where(table.c.tenant_id == DEFAULT_TENANT, table.c.integration == integration)
        .values(
            failures=func.least(table.c.failures + 1, 1_000),
            due_at=func.least(table.c.due_at, func.now() + pause),
        )
    )


async def _record_success(connection: AsyncConnection, integration: str) -> None:
    await connection.execute(
        update(template_catalogues)
        .where(template_catalogues.c.tenant_id == DEFAULT_TENANT, template_catalogues.c.integration == integration)
        .values(failures=0, read_at=func.now())
    )
