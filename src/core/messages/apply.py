"""Applying what companies told us: reports move messages forward only, what people wrote becomes a message."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.news import apply_news
from core.database import Database, is_contention, is_passing
from core.errors import Overloaded
from core.keyring.lookup import prepare_lookups
from core.messages.holders import About, Name, give_back, holders_of, holds
from core.messages.inbound import insert_inbound
from core.messages.provider_ids import of_attempt
from core.messages.record import Key, Noted, lock_standings, write_moves
from core.messages.transitions import Attempt, Standing, after_report
from core.messages.values import EventSource
from core.ports import DirectoryChanged, InboundMessage, ReportedStatus, StatusReport, TemplatesChanged
from core.privacy.forget import forget_webhooks
from core.pubsub import Change, Hub
from core.sealing import Sealer
from core.templates.keeping import ask_again
from core.webhooks.closing import Place, ignored, processed, step_aside, try_later, wait_for_message
from core.webhooks.inbox import Kept, keys_of, take

log = structlog.get_logger(__name__)

# How long those taken together wait for messages that others hold, and then each by itself: what has waited already
# and is still held steps aside, before the next one waits behind it.
_PATIENCE, _OWN_PATIENCE = "1s", "100ms"


@dataclass(slots=True)
class Batch:
    """What becomes of the events taken together.

    `holders` says which attempts hold the ids that the reports name; `standings` where all these messages stand.
    """

    sealer: Sealer
    holders: Mapping[Name, About] = field(default_factory=dict)
    standings: dict[Key, Standing] = field(default_factory=dict)
    noted: list[Noted] = field(default_factory=list)
    # With the messages they changed.
    processed: dict[Place, UUID | None] = field(default_factory=dict)
    ignored: list[Place] = field(default_factory=list)
    unknown: list[Kept] = field(default_factory=list)
    # About messages that are no longer kept, or another tenant's: they are not kept either.
    forgotten: list[Place] = field(default_factory=list)


async def apply_due(database: Database, sealer: Sealer, hub: Hub, *, limit: int = 200) -> int:
    """Apply events of the inbox that are due, in one transaction; returns how many were taken.

    One that cannot be applied is tried again later, at last parked as FAILED, and holds up nobody.
    """
    await prepare_lookups(database, sealer)
    try:
        return await _apply_taken(database, sealer, hub, limit, _apply, _PATIENCE)
    except Overloaded as error:
        if not is_contention(error.__cause__):
            raise
        log.warning("inbox_batch_waits", reason="somebody holds a message of it")
    except Exception:
        log.exception("inbox_batch_broke")
    return await _apply_taken(database, sealer, hub, limit, _apply_each, _OWN_PATIENCE)


Way = Callable[[AsyncConnection, Sealer, Sequence[Kept]], Awaitable[list[Change]]]


async def _apply_taken(database: Database, sealer: Sealer, hub: Hub, limit: int, way: Way, patience: str) -> int:
    async with database.transaction(lock_timeout=patience) as connection:
        taken = await take(connection, sealer, limit=limit)
        changes = await way(connection, sealer, taken) if taken else []
    await hub.publish(changes)
    return len(taken)


async def _apply_each(connection: AsyncConnection, sealer: Sealer, taken: Sequence[Kept]) -> list[Change]:
    changes: list[Change] = []
    for kept in taken:
        await connection.execute(text("SAVEPOINT one"))
        try:
            changes += await _apply(connection, sealer, [kept])
        except Exception as error:
            if is_passing(error) and not is_contention(error):
                raise
            await connection.execute(text("ROLLBACK TO SAVEPOINT one"))
            if is_contention(error):
                await step_aside(connection, kept.place)
            else:
                log.exception("inbox_unappliable", inbox_id=str(kept.place.id))
                await try_later(connection, {kept.place: f"cannot be applied: {type(error).__name__}"})
        await connection.execute(text("RELEASE SAVEPOINT one"))
    return changes


async def _apply(connection: AsyncConnection, sealer: Sealer, taken: Sequence[Kept]) -> list[Change]:
    reports = [(kept, kept.event) for kept in taken if isinstance(kept.event, StatusReport)]
    batch = Batch(sealer, await _holders(connection, sealer, reports))
    about = _about(reports, batch.holders)
    touched = {one.key for one in about.values()} | {one.key for one in batch.holders.values()}
    batch.standings = await lock_standings(connection, touched) if touched else {}
    changes: list[Change] = []
    for kept in taken:
        match kept.event:
            case StatusReport():
                _apply_report(batch, kept, kept.event, about.get(kept.place))
            case InboundMessage():
                changes += await insert_inbound(connection, sealer, kept.place, kept.integration, kept.event)
                batch.processed[kept.place] = kept.place.id
            case TemplatesChanged():
                await ask_again(connection, kept.integration)
                batch.processed[kept.place] = None
            case DirectoryChanged():
                await apply_news(connection, sealer, kept.event)
                batch.processed[kept.place] = None
            case _:
                batch.ignored.append(kept.place)
    if batch.noted:
        changes += await write_moves(connection, batch.noted)
    await processed(connection, batch.processed)
    await forget_webhooks(connection, sealer, await keys_of(connection, batch.forgotten))
    await ignored(connection, batch.ignored, "nothing here acts on this event")
    for names_ours in (True, False):
        places = [kept.place for kept in batch.unknown if _names_ours(kept) is names_ours]
        await wait_for_message(connection, places, names_ours=names_ours)
    return changes


def _names_ours(kept: Kept) -> bool:
    return isinstance(kept.event, StatusReport) and kept.event.reference is not None


async def _holders(
    connection: AsyncConnection, sealer: Sealer, reports: Sequence[tuple[Kept, StatusReport]]
) -> dict[Name, About]:
    """Who holds the ids that reports name: whom they speak of, or whose wrong assignment they correct."""
    named = {(kept.integration, report.provider_message_id) for kept, report in reports if report.provider_message_id}
    return await holders_of(connection, sealer, named)


def _about(reports: Sequence[tuple[Kept, StatusReport]], holders: Mapping[Name, About]) -> dict[Place, About]:
    """Find the attempts reports speak of: by our own reference, else by the company's id."""
    about: dict[Place, About] = {}
    for kept, report in reports:
        if (ref := report.reference) is not None:
            about[kept.place] = About(Key(ref.tenant_id, ref.message_id), ref.attempt)
        elif found := holders.get((kept.integration, report.provider_message_id or "")):
            about[kept.place] = found
    return about


def _apply_report(batch: Batch, kept: Kept, report: StatusReport, about: About | None) -> None:
    standing = batch.standings.get(about.key) if about else None
    if about is None or standing is None or about.attempt not in standing.attempts:
        # It may have overtaken our own commit, or speak of a message that is not ours at all.
        batch.unknown.append(kept)
        return
    if standing.is_erased:
        batch.forgotten.append(kept.place)
    id = report.provider_message_id
    if id and report.reference is not None and not _correct(batch, kept, id, about):
        id = None
    _note_report(batch, kept, report, about, None if standing.is_erased else id)
    # The webhook's row can point at a message of its own tenant only.
    is_same_tenant = about.key.tenant_id == kept.place.tenant_id
    if not is_same_tenant:
        # It lay here since it did not say whose it was; what it says of another tenant's customer does not stay here.
        batch.forgotten.append(kept.place)
    batch.processed[kept.place] = about.key.message_id if is_same_tenant else None


def _note_report(batch: Batch, kept: Kept, report: StatusReport, about: About, id: str | None) -> None:
    standing = batch.standings[about.key]
    named = None if id is None else of_attempt(batch.sealer, *about.key, about.attempt, id)
    move = after_report(standing, about.attempt, report.status, report.failure, named)
    detail = f"{kept.integration} reports {report.event_type}"
    if report.failure is not None and report.failure.provider_code:
        detail += f" ({report.failure.provider_code})"
    batch.noted.append(
        Noted(
            key=about.key,
            before=standing,
            move=move,
            attempt=about.attempt,
            source=EventSource.WEBHOOK,
            integration=kept.integration,
            detail=detail if move else f"{detail}: noted, nothing new",
        )
    )
    if move is not None:
        batch.standings[about.key] = move.standing


def _correct(batch: Batch, kept: Kept, id: str, about: About) -> bool:
    """Give an id to the attempt that the signed report names, if a list had ascribed it to another one.

    Returns whether it may keep the id: not where another attempt holds it for certain.
    """
    mine = batch.standings[about.key].attempts[about.attempt]
    if mine.is_from_list and not holds(batch.sealer, mine, id):
        # What it was taken for was another one's: its own id is this one.
        _withdraw(batch, about, kept.integration)
    holder = batch.holders.get((kept.integration, id), about)
    if holder == about:
        return True
    standing = batch.standings.get(holder.key)
    held = None if standing is None else standing.attempts.get(holder.attempt)
    if held is None or not holds(batch.sealer, held, id):
        return True
    if not held.is_from_list:
        log.error("provider_id_is_not_unique", integration=kept.integration, message_id=str(about.key.message_id))
        return False
    _withdraw(batch, holder, kept.integration)
    _pass_on(batch, about, held, kept.integration, id)
    return True


def _withdraw(batch: Batch, holder: About, company: str) -> None:
    if (noted := give_back(batch.standings, holder, company, EventSource.WEBHOOK)) is not None:
        batch.noted.append(noted)


def _pass_on(batch: Batch, about: About, held: Attempt, company: str, id: str) -> None:
    """What was known of the id under another message is this one's."""
    status = next((one for one in ReportedStatus if one.rank == held.rank), None)
    standing = batch.standings[about.key]
    named = None if standing.is_erased else of_attempt(batch.sealer, *about.key, about.attempt, id)
    move = None if status is None else after_report(standing, about.attempt, status, held.failure, named)
    if move is None:
        return
    batch.standings[about.key] = move.standing
    batch.noted.append(
        Noted(
            key=about.key,
            before=standing,
            move=move,
            attempt=about.attempt,
            source=EventSource.WEBHOOK,
            integration=company,
            detail=f"{company} says that a record found in its list is this message's",
        )
    )
