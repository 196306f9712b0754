"""Settling unconfirmed messages: the provider is asked, where it can be; otherwise the route's policy decides.

An unconfirmed message is left alone while a report about it waits in the inbox, and until everything that could have
brought a report has been at work, without a gap, for the time that unconfirmed messages are held. One record of a
provider's list may look like several attempts: it settles an attempt only when no other attempt can be meant.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ARRAY, DateTime, Interval, Row, Text, Uuid, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.errors import ProviderError
from core.liveness import active_since
from core.messages import state_machine
from core.messages.bulk_transition import transition_all
from core.messages.claim import GIVE_UP_AFTER, NO_UNREAD_REPORT, Timing, with_unread_reports
from core.messages.provider_ids import AttemptKey, ProviderName, holders_of, lock_names, seal_for_attempt
from core.messages.record import EventRecord, MessageKey, lock_leased
from core.messages.state_machine import MessageState, Transition
from core.messages.status import AttemptOutcome, EventSource, UnconfirmedPolicy
from core.ports import Channel, DeliveryLookup, LookupRequest, ProviderRecord, Reference, ReportedStatus
from core.ports.content import content_for, content_from_json
from core.pubsub import Hub
from core.sealing import SealBroken, Sealer, prepare_lookups

log = structlog.get_logger(__name__)


async def look_up(
    lookup: DeliveryLookup, integration: str, message_id: UUID, sought: Callable[[], LookupRequest], deadline: timedelta
) -> Sequence[ProviderRecord] | None:
    """Ask a provider for its records of an attempt; None when it could not be asked or did not answer. Never raises.

    `sought` opens the message: for one that cannot be opened, the provider is not asked.
    """
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            return await lookup.find(sought())
    except (ProviderError, TimeoutError, SealBroken) as error:
        reason = reason_of(error, deadline)
        log.warning("look_up_failed", integration=integration, message_id=str(message_id), **reason)
    except Exception:
        # For example content that another version wrote: raising would hold up the other attempts every time.
        log.exception("look_up_broke", integration=integration, message_id=str(message_id))
    return None


def reason_of(error: Exception, deadline: timedelta) -> dict[str, str]:
    """Why a provider was not asked or did not answer, as fields of a log line."""
    said = {"error": type(error).__name__}
    if isinstance(error, ProviderError):
        code = {"provider_code": error.provider_code} if error.provider_code else {}
        return {**said, "reason": error.message, **code}
    if isinstance(error, TimeoutError):
        return {**said, "reason": f"no whole answer within {deadline.total_seconds():.0f} s"}
    return {**said, "reason": str(error)}


LOOKALIKE_WINDOW = timedelta(hours=1)
"""How far apart two attempts may have begun for one record of a list to be either: more than the usual difference
between an attempt and its record."""


@dataclass(frozen=True, slots=True)
class UnconfirmedAttempt:
    """An unconfirmed attempt, with its message leased to be settled; `age` is how long it has been unconfirmed.

    Of a rival, which is not settled now, there is neither age nor token. `is_under_way` until its call has ended.
    `same` are the numbers of the message's attempts through the same integration: its list may show each of them.
    """

    key: MessageKey
    number: int
    integration: str
    channel: Channel
    started_at: datetime
    simulated_only: bool
    to_masked: str
    to_sealed: bytes | None
    content_sealed: bytes | None
    is_under_way: bool = False
    token: int = 0
    age: timedelta = timedelta(0)
    same: Collection[int] = ()

    def sought(self, sealer: Sealer) -> LookupRequest:
        """What the provider is asked for; raises SealBroken, also where the content was erased."""
        tenant, row = self.key
        if self.to_sealed is None or self.content_sealed is None:
            raise SealBroken("what was sent was erased")
        reference = Reference(tenant, row, self.number)
        return open_sought(sealer, reference, self.channel, self.to_sealed, self.content_sealed, self.started_at)


def open_sought(
    sealer: Sealer,
    reference: Reference,
    channel: Channel,
    to_sealed: bytes,
    content_sealed: bytes,
    started_at: datetime,
    provider_message_id: str | None = None,
) -> LookupRequest:
    """Open what a provider is asked for. Raises SealBroken."""
    tenant, row = reference.tenant_id, reference.message_id
    content = content_from_json(sealer.open(content_sealed, tenant=tenant, row=row, column="content"))
    to = sealer.open(to_sealed, tenant=tenant, row=row, column="to")
    return LookupRequest(reference, channel, to, content_for(content, channel), started_at, provider_message_id)


_LEASE_DUE = text(f"""
WITH due AS (
    SELECT tenant_id, id FROM messages
    WHERE status = 'UNCONFIRMED' AND due_at <= now() AND lease_until IS NULL AND {NO_UNREAD_REPORT}
    ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED
), leased AS (
    UPDATE messages SET lease_until = now() + :lease, lease_owner = :worker, lease_token = lease_token + 1
    FROM due WHERE messages.tenant_id = due.tenant_id AND messages.id = due.id
    RETURNING messages.*
)
SELECT
    leased.tenant_id, leased.id, leased.lease_token, leased.to_masked, leased.to_sealed, leased.content_sealed,
    leased.simulated_only, now() - leased.unconfirmed_at AS age,
    attempts.number, attempts.integration, attempts.channel, attempts.started_at,
    ARRAY(
        SELECT number FROM attempts AS one WHERE one.tenant_id = leased.tenant_id AND one.message_id = leased.id
            AND one.integration = attempts.integration
    ) AS same
FROM leased CROSS JOIN LATERAL (
    -- Not always the last attempt: one that was claimed later and never begun does not count, and one that was tried
    -- later and rejected is known.
    SELECT * FROM attempts
    WHERE tenant_id = leased.tenant_id AND message_id = leased.id AND started_at IS NOT NULL
    ORDER BY (outcome = 'UNCONFIRMED' AND rank = 0) DESC, number DESC LIMIT 1
) attempts
""").bindparams(bindparam("lease", type_=Interval))  # noqa: S608  # a constant is all that is filled in


async def lease_due(
    connection: AsyncConnection, *, worker: str, limit: int, timing: Timing
) -> list[UnconfirmedAttempt]:
    """Lease unconfirmed messages that are due; none if reports may have been missed within the time they are held."""
    heard = (await connection.execute(select(active_since().scalar_subquery() + timing.hold < text("now()")))).scalar()
    if not heard:
        return []
    rows = await connection.execute(_LEASE_DUE, {"worker": worker, "limit": limit, "lease": timing.lease})
    return [_unconfirmed_attempt(row) for row in rows]


def _unconfirmed_attempt(row: Row[Any]) -> UnconfirmedAttempt:
    return UnconfirmedAttempt(
        key=MessageKey(row.tenant_id, row.id),
        number=row.number,
        integration=row.integration,
        channel=Channel(row.channel),
        started_at=row.started_at,
        simulated_only=row.simulated_only,
        to_masked=row.to_masked,
        to_sealed=row.to_sealed,
        content_sealed=row.content_sealed,
        token=row.lease_token,
        age=row.age,
        same=row.same,
    )


# An address is masked in the same way for every tenant and under every key. An erased one may be any address.
_LOOKALIKES = text("""
SELECT DISTINCT ON (other.tenant_id, other.message_id, other.number)
    other.tenant_id, other.message_id, other.number, other.integration, other.channel, other.started_at, other.outcome,
    messages.simulated_only, messages.to_masked, messages.to_sealed, messages.content_sealed
FROM unnest(:tenants, :ids, :integrations, :starts, :masked)
    AS mine(tenant_id, message_id, integration, started_at, to_masked)
JOIN LATERAL (
    SELECT * FROM attempts WHERE outcome IN ('IN_FLIGHT', 'UNCONFIRMED') AND integration = mine.integration
        AND started_at BETWEEN mine.started_at - :apart AND mine.started_at + :apart
    -- Settled by hand as sent: it has a record, and it is unknown which.
    UNION ALL SELECT * FROM attempts WHERE outcome = 'ACCEPTED' AND rank = 1 AND integration = mine.integration
        AND started_at BETWEEN mine.started_at - :apart AND mine.started_at + :apart
        AND provider_id_lookup IS NULL AND provider_message_id IS NULL AND channel <> 'EMAIL'
) other ON (other.tenant_id, other.message_id) <> (mine.tenant_id, mine.message_id)
JOIN messages ON messages.tenant_id = other.tenant_id AND messages.id = other.message_id
    AND (messages.to_masked = mine.to_masked OR messages.to_sealed IS NULL)
LIMIT :limit
""").bindparams(
    bindparam("tenants", type_=ARRAY(Uuid)),
    bindparam("ids", type_=ARRAY(Uuid)),
    bindparam("integrations", type_=ARRAY(Text)),
    bindparam("starts", type_=ARRAY(DateTime(timezone=True))),
    bindparam("masked", type_=ARRAY(Text)),
    bindparam("apart", type_=Interval),
)


async def lookalikes_of(
    connection: AsyncConnection, attempts: Sequence[UnconfirmedAttempt], *, limit: int
) -> list[UnconfirmedAttempt]:
    """Attempts of other messages, of any tenant, that one record of a list may be as well; at most `limit`."""
    rows = await connection.execute(
        _LOOKALIKES,
        {
            "tenants": [one.key.tenant_id for one in attempts],
            "ids": [one.key.message_id for one in attempts],
            "integrations": [one.integration for one in attempts],
            "starts": [one.started_at for one in attempts],
            "masked": [one.to_masked for one in attempts],
            "apart": LOOKALIKE_WINDOW,
            "limit": limit,
        },
    )
    return [
        UnconfirmedAttempt(
            MessageKey(row.tenant_id, row.message_id),
            row.number,
            row.integration,
            Channel(row.channel),
            row.started_at,
            row.simulated_only,
            row.to_masked,
            row.to_sealed,
            row.content_sealed,
            is_under_way=row.outcome == AttemptOutcome.IN_FLIGHT.value,
        )
        for row in rows
    ]


LONGEST_PAUSE = timedelta(hours=1)
"""The longest pause between two looks at one unconfirmed message."""

_MAX_LOOKALIKES = 500

Answer = Sequence[ProviderRecord] | None
"""A provider's records of an attempt; None when it was not asked or did not answer."""


# ─── Deciding ─────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Evidence:
    """The records in the providers' lists, the attempts they may be, and the attempts that hold their ids.

    `lookalikes` is None where there are too many attempts that look alike.
    """

    answers: Mapping[AttemptKey, Answer]
    lookalikes: Sequence[UnconfirmedAttempt] | None
    holders: dict[ProviderName, AttemptKey]

    def free(self, attempt: UnconfirmedAttempt) -> Sequence[ProviderRecord]:
        """The records that may be this attempt: no other attempt holds their ids."""
        found = self.answers.get(_key_of(attempt)) or ()
        names = [(attempt.integration, one.provider_message_id) for one in found]
        return [
            one for one, name in zip(found, names, strict=True) if self.holders.get(name) in (None, _key_of(attempt))
        ]

    def has_lookalike(self, attempt: UnconfirmedAttempt, free: Sequence[ProviderRecord]) -> bool:
        """Whether one of these records may be another message's, which is unconfirmed, too."""
        if self.lookalikes is None:
            return True
        ids = {one.provider_message_id for one in free}
        return any(
            _may_be_confused(attempt, one) and ids & self._ids(one, otherwise=ids)
            for one in self.lookalikes
            if one.key != attempt.key
        )

    def _ids(self, other: UnconfirmedAttempt, *, otherwise: Set[str]) -> Set[str]:
        answer = self.answers.get(_key_of(other))
        return otherwise if answer is None else {one.provider_message_id for one in answer}


def _key_of(attempt: UnconfirmedAttempt) -> AttemptKey:
    return AttemptKey(attempt.key, attempt.number)


def _may_be_confused(attempt: UnconfirmedAttempt, other: UnconfirmedAttempt) -> bool:
    is_known = other.to_sealed is not None and other.to_masked != attempt.to_masked
    is_near = abs(attempt.started_at - other.started_at) <= LOOKALIKE_WINDOW
    return other.integration == attempt.integration and is_near and not is_known


@dataclass(frozen=True, slots=True)
class Settler:
    """Settles unconfirmed messages that are due; `lookups` are the providers that can be asked, by integration.

    Providers that are not `simulated` are not asked about messages of test keys.
    """

    database: Database
    sealer: Sealer
    hub: Hub
    lookups: Mapping[str, DeliveryLookup]
    worker: str
    timing: Timing
    simulated: frozenset[str] = frozenset()

    async def settle_due(self, *, limit: int = 50) -> int:
        """Settle up to so many unconfirmed messages; returns how many were looked at."""
        await prepare_lookups(self.database, self.sealer)
        async with self.database.transaction() as connection:
            attempts = await lease_due(connection, worker=self.worker, limit=limit, timing=self.timing)
        if not attempts:
            return 0
        answers = await self._ask_all(attempts)
        # Without naming tenants: one account serves all of them, and its list shows the messages of all.
        async with self.database.transaction() as connection:
            evidence = await _evidence(connection, self.sealer, attempts, answers)
            unread = await with_unread_reports(connection, [attempt.key for attempt in attempts])
            by_key = {attempt.key: attempt for attempt in attempts}
            changes = await transition_all(
                connection,
                by_key,
                lambda inside, keys: lock_leased(inside, {key: by_key[key].token for key in keys}),
                lambda key, state: self._decide(by_key[key], state, evidence, has_report=key in unread),
            )
        await self.hub.publish(changes)
        return len(attempts)

    async def _ask_all(self, attempts: Sequence[UnconfirmedAttempt]) -> dict[AttemptKey, Answer]:
        """Ask about these attempts, and about the others that one of the records found may be."""
        asked = [one for one in attempts if self._can_ask(one)]
        if not asked:
            return {}
        async with self.database.transaction() as connection:
            lookalikes = await lookalikes_of(connection, asked, limit=_MAX_LOOKALIKES)
        if len(lookalikes) == _MAX_LOOKALIKES:
            return {}
        # A call that is under way will get an answer of its own.
        all_asked = {_key_of(one): one for one in (*lookalikes, *asked) if not one.is_under_way and self._can_ask(one)}
        answers = await asyncio.gather(*(self._ask(one) for one in all_asked.values()))
        return dict(zip(all_asked, answers, strict=True))

    def _can_ask(self, attempt: UnconfirmedAttempt) -> bool:
        return attempt.integration in self.lookups and not (
            attempt.simulated_only and attempt.integration not in self.simulated
        )

    async def _ask(self, attempt: UnconfirmedAttempt) -> Answer:
        sought, deadline = partial(attempt.sought, self.sealer), self.timing.send_deadline
        return await look_up(
            self.lookups[attempt.integration], attempt.integration, attempt.key.message_id, sought, deadline
        )

    def _decide(
        self, attempt: UnconfirmedAttempt, state: MessageState, evidence: Evidence, *, has_report: bool
    ) -> EventRecord:
        if has_report:
            # It came while the provider was asked, and says more than a list does.
            transition, detail = (
                state_machine.keep_waiting(state, timedelta(0)),
                "a report has come: it is applied first",
            )
        else:
            transition, detail = self._by_list(attempt, state, evidence) or self._by_policy(
                attempt, state, evidence.answers.get(_key_of(attempt))
            )
        return EventRecord(
            key=attempt.key,
            before=state,
            transition=transition,
            source=EventSource.SCHEDULER,
            attempt=attempt.number,
            integration=attempt.integration,
            detail=detail,
            is_logged=transition.state.status is not state.status,
        )

    def _by_list(
        self, attempt: UnconfirmedAttempt, state: MessageState, evidence: Evidence
    ) -> tuple[Transition, str] | None:
        """Settle by a record of the provider's list, if it can only be this attempt."""
        free = evidence.free(attempt)
        if not free:
            return None
        sent_again = [one for one in state.attempts.values() if one.number in attempt.same and one.step == state.step]
        own = sum(one.is_unconfirmed for one in sent_again)
        if len(free) > max(own, 1) or evidence.has_lookalike(attempt, free):
            if attempt.age >= GIVE_UP_AFTER:
                return None
            words = f"{attempt.integration}'s list shows a record that may be another message's: not decided"
            return state_machine.keep_waiting(state, self._later(attempt)), words
        found = free[0]
        status, name = found.status or ReportedStatus.SENT, found.provider_message_id
        kept = seal_for_attempt(self.sealer, *attempt.key, attempt.number, name)
        transition = state_machine.after_report(state, attempt.number, status, found.failure, kept, is_from_list=True)
        if transition is None:
            return None
        evidence.holders[attempt.integration, name] = _key_of(attempt)
        return transition, f"{attempt.integration}'s list shows it: {status.lower()}"

    def _later(self, attempt: UnconfirmedAttempt) -> timedelta:
        return min(max(attempt.age / 2, self.timing.hold), LONGEST_PAUSE)

    def _waits_for_key(self, attempt: UnconfirmedAttempt) -> bool:
        """Whether the provider could be asked, and the address cannot be opened with the keys of this process."""
        if attempt.integration not in self.lookups:
            return False
        try:
            attempt.sought(self.sealer)
        except SealBroken:
            return True
        return False

    def _by_policy(self, attempt: UnconfirmedAttempt, state: MessageState, answer: Answer) -> tuple[Transition, str]:
        if attempt.age >= GIVE_UP_AFTER and not self._waits_for_key(attempt):
            return state_machine.stop_waiting(state), "unconfirmed for three days"
        later = self._later(attempt)
        could_ask = attempt.integration in self.lookups
        if could_ask and answer is None:
            return state_machine.keep_waiting(state, later), "the provider could not be asked; nothing is decided"
        words = f"{attempt.integration} has no record of it" if could_ask else "no report has come"
        match state.route[state.step].on_unconfirmed:
            case _ if state.is_expired:
                pass
            case UnconfirmedPolicy.RESEND if state.latest.is_unconfirmed and _unconfirmed_in_step(state) < 2:
                return state_machine.send_again(state), f"{words}: sent once more, as its route asks"
            case UnconfirmedPolicy.NEXT_CHANNEL if state.has_next:
                return state_machine.move_to_next_step(state), f"{words}: the next channel is tried, as its route asks"
        return state_machine.keep_waiting(state, later), f"{words}: waiting"


def _unconfirmed_in_step(state: MessageState) -> int:
    return sum(one.step == state.step and one.is_unconfirmed for one in state.attempts.values())


async def _evidence(
    connection: AsyncConnection,
    sealer: Sealer,
    attempts: Sequence[UnconfirmedAttempt],
    answers: Mapping[AttemptKey, Answer],
) -> Evidence:
    """Gather the evidence inside the transaction that decides.

    Attempts begun since the lists were read cannot be in them. Look-alikes are read before holders, so that an attempt
    that gets an id in between counts as both.
    """
    asked = [one for one in attempts if answers.get(_key_of(one))]
    names = {(one.integration, found.provider_message_id) for one in asked for found in answers[_key_of(one)] or ()}
    if not names:
        return Evidence(answers, (), {})
    await lock_names(connection, names)
    lookalikes = await lookalikes_of(connection, asked, limit=_MAX_LOOKALIKES)
    holders = await holders_of(connection, sealer, names)
    return Evidence(answers, None if len(lookalikes) == _MAX_LOOKALIKES else lookalikes, holders)
