"""Keeping copies of a company's templates fresh: every few minutes, soon after it says that one changed, one worker."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Interval, cast, func, literal, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.principal import DEFAULT_TENANT
from core.database import Database
from core.errors import OutcomeUnknown, ProviderError
from core.ports import Channel, ProviderTemplate, TemplateCatalogue
from core.templates.catalogue import take_over
from core.templates.tables import template_catalogues

log = structlog.get_logger(__name__)

PERIOD = timedelta(minutes=5)
FIRST_PAUSE = timedelta(seconds=5)
"""How long a company that could not be read is left alone; twice as long each time, and never longer than PERIOD."""
DEADLINE = 60.0
"""Seconds for all pages together."""


@dataclass(frozen=True, slots=True)
class CatalogueKeeper:
    """Copies what one company lists for one channel to the default tenant, whose account it is."""

    integration: str
    channel: Channel
    catalogue: TemplateCatalogue
    database: Database

    async def read_if_due(self) -> bool:
        """Read and copy the catalogue when it is due and no other worker does; says whether it was read."""
        async with self.database.transaction(DEFAULT_TENANT) as connection:
            failures = await _take_turn(connection, self.integration)
        if failures is None:
            return False
        try:
            listed = await self._read()
        except ProviderError as error:
            # A company that is down for hours says so once.
            tell = log.info if failures else log.warning
            code = error.provider_code
            tell("templates_not_read", integration=self.integration, reason=error.message, provider_code=code)
            async with self.database.transaction(DEFAULT_TENANT) as connection:
                await _note_failure(connection, self.integration)
            return False
        async with self.database.transaction(DEFAULT_TENANT) as connection:
            changed = await take_over(connection, DEFAULT_TENANT, self.integration, self.channel, listed)
            await _note_success(connection, self.integration)
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


async def ask_again(connection: AsyncConnection, integration: str) -> None:
    """Have a catalogue read again soon: the company says that something in it changed."""
    row = insert(template_catalogues).values(tenant_id=DEFAULT_TENANT, integration=integration, due_at=func.now())
    await connection.execute(
        row.on_conflict_do_update(index_elements=["tenant_id", "integration"], set_={"due_at": func.now()})
    )


async def _take_turn(connection: AsyncConnection, integration: str) -> int | None:
    """Move the time of the next reading on; whoever does so reads. Returns the failures in a row until now."""
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


async def _note_failure(connection: AsyncConnection, integration: str) -> None:
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


async def _note_success(connection: AsyncConnection, integration: str) -> None:
    await connection.execute(
        update(template_catalogues)
        .where(template_catalogues.c.tenant_id == DEFAULT_TENANT, template_catalogues.c.integration == integration)
        .values(failures=0, read_at=func.now())
    )
