"""Reconciling with the providers' records: overdue reports are asked for, and each day's messages are counted."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.errors import ProviderError
from core.messages.bulk_transition import write_isolated
from core.messages.claim import Timing
from core.messages.provider_ids import open_id_or_none
from core.messages.record import EventRecord, MessageKey, lock_states, write_transitions
from core.messages.state_machine import after_report
from core.messages.status import AttemptOutcome, EventSource, ProviderId
from core.messages.tables import attempts, daily_counts
from core.messages.unconfirmed import look_up, open_sought, reason_of
from core.ports import Channel, DeliveryLookup, LookupRequest, ProviderRecord, Reference
from core.pubsub import Change, Hub
from core.sealing import Sealer

log = structlog.get_logger(__name__)

Overdue = tuple[MessageKey, int, str, ProviderRecord]
_COUNTING = timedelta(minutes=1)
"""The deadline for counting a day; a list of many pages is slow."""

# A report is overdue a quarter of an hour after the provider accepted the message. The pauses between two questions
# grow with its age, and end after three days. It is marked before it is asked for, so that two workers ask once.
_MARK = text("""
WITH silent AS (
    SELECT tenant_id, message_id, number FROM attempts
    WHERE outcome = 'ACCEPTED' AND rank = 1 AND integration = ANY(:integrations)
      AND started_at BETWEEN now() - interval '3 days' AND now() - interval '15 minutes'
      AND (checked_at IS NULL OR now() - checked_at > greatest(interval '15 minutes', (now() - started_at) / 4))
    LIMIT :limit FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE attempts SET checked_at = now() FROM silent
    WHERE attempts.tenant_id = silent.tenant_id AND attempts.message_id = silent.message_id
      AND attempts.number = silent.number
    RETURNING attempts.*
)
SELECT marked.tenant_id, marked.message_id, marked.number, marked.integration, marked.channel, marked.started_at,
    marked.provider_id_sealed, marked.provider_id_lookup, marked.provider_message_id,
    messages.to_sealed, messages.content_sealed, messages.simulated_only
FROM marked JOIN messages ON messages.tenant_id = marked.tenant_id AND messages.id = marked.message_id
WHERE messages.erased_at IS NULL
""")
# By the database's clock: a worker's clock that is ahead would count a day before it is over.
_TODAY = text("SELECT (now() AT TIME ZONE 'UTC')::date")


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Asks the providers that can be asked; `lookups` holds them by integration.

    Providers that are not `simulated` are not asked about messages of test keys.
    """

    database: Database
    sealer: Sealer
    hub: Hub
    lookups: Mapping[str, DeliveryLookup]
    timing: Timing
    simulated: frozenset[str] = frozenset()

    async def ask_for_reports(self, *, limit: int = 50) -> int:
        """Ask about messages that a provider accepted and has not reported on; returns how many were asked about."""
        if not self.lookups:
            return 0
        async with self.database.transaction() as connection:
            rows = (await connection.execute(_MARK, {"integrations": list(self.lookups), "limit": limit})).all()
        answers = await asyncio.gather(*(self._ask(row) for row in rows))
        found = [one for one in answers if one is not None]
        if found:
            async with self.database.transaction(*{key.tenant_id for key, *_ in found}) as connection:
                changes = await _apply(connection, found)
            await self.hub.publish(changes)
        return len(rows)

    async def _ask(self, row: Row[Any]) -> Overdue | None:
        if row.simulated_only and row.integration not in self.simulated:
            return None
        lookup, deadline = self.lookups[row.integration], self.timing.send_deadline
        id = open_id_or_none(self.sealer, ProviderId.of_row(row), row.tenant_id, row.message_id, row.number)
        sightings = await look_up(lookup, row.integration, row.message_id, partial(self._sought, row, id), deadline)
        same = [one for one in sightings or () if one.provider_message_id == id]
        return (MessageKey(row.tenant_id, row.message_id), row.number, row.integration, same[0]) if same else None

    def _sought(self, row: Row[Any], id: str | None) -> LookupRequest:
        reference, channel = Reference(row.tenant_id, row.message_id, row.number), Channel(row.channel)
        return open_sought(self.sealer, reference, channel, row.to_sealed, row.content_sealed, row.started_at, id)

    async def count_days(self, *, days: int = 2) -> None:
        """Compare the numbers of messages sent on the last full days with the providers' own counts."""
        if not self.lookups:
            return
        async with self.database.transaction() as connection:
            today: date = (await connection.execute(_TODAY)).scalar_one()
        for integration, lookup in self.lookups.items():
            for back in range(1, days + 1):
                await self._count(integration, lookup, today - timedelta(days=back))

    async def _count(self, integration: str, lookup: DeliveryLookup, day: date) -> None:
        async with self.database.transaction() as connection:
            known = await connection.execute(
                select(daily_counts.c.day).where(daily_counts.c.integration == integration, daily_counts.c.day == day)
            )
            if known.first() is not None:
                return
            ours = await _taken_on(connection, integration, day)
        try:
            async with asyncio.timeout(_COUNTING.total_seconds()):
                theirs = await lookup.count(day)
        except (ProviderError, TimeoutError) as error:
            reason = reason_of(error, _COUNTING)
            log.warning("daily_count_failed", integration=integration, day=day.isoformat(), **reason)
            return
        except Exception:
            # An error with one provider must not keep the others from being counted.
            log.exception("daily_count_broke", integration=integration, day=day.isoformat())
            return
        if theirs is not None and theirs != ours:
            log.warning(
                "daily_count_differs",
                integration=integration,
                day=day.isoformat(),
                ours=ours,
                theirs=theirs,
                advice="another system may use the same account, or sends may be unrecorded: compare the lists",
            )
        async with self.database.transaction() as connection:
            row = insert(daily_counts).values(integration=integration, day=day, ours=ours, theirs=theirs)
            await connection.execute(row.on_conflict_do_nothing())


async def _apply(connection: AsyncConnection, found: Sequence[Overdue]) -> list[Change]:
    async def write(some: Collection[Overdue]) -> list[Change]:
        return await _write(connection, some)

    async def drop(one: Overdue) -> list[Change]:
        # It is asked for again, for three days, as if there had been no answer.
        log.exception("answer_unwritable", message_id=str(one[0].message_id))
        return []

    return await write_isolated(connection, found, write, drop)


async def _write(connection: AsyncConnection, found: Collection[Overdue]) -> list[Change]:
    states = await lock_states(connection, {key for key, *_ in found})
    records = []
    for key, number, integration, sighting in found:
        state = states[key]
        if sighting.status is None:
            continue
        transition = after_report(state, number, sighting.status, sighting.failure)
        if transition is None:
            continue
        states[key] = transition.state
        records.append(
            EventRecord(
                key=key,
                before=state,
                transition=transition,
                source=EventSource.SCHEDULER,
                attempt=number,
                integration=integration,
                detail=f"asked, since no report came: {integration}'s record says {sighting.status.lower()}",
            )
        )
    return await write_transitions(connection, records) if records else []


async def _taken_on(connection: AsyncConnection, integration: str, day: date) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    statement = (
        select(func.count())
        .select_from(attempts)
        .where(
            attempts.c.integration == integration,
            attempts.c.outcome == AttemptOutcome.ACCEPTED.value,
            attempts.c.started_at >= start,
            attempts.c.started_at < start + timedelta(days=1),
        )
    )
    found: int = (await connection.execute(statement)).scalar_one()
    return found
