"""Unconfirmed messages: the provider is asked what became of them, and the route's policy decides otherwise."""

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
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
from core.lookup_keys import prepare_lookups
from core.messages import state_machine
from core.messages.bulk_transition import transition_all
from core.messages.claim import GIVE_UP_AFTER, NO_UNREAD_REPORT, Timing, with_unread_reports
from core.messages.provider_ids import AttemptKey, ProviderName, holders_of, lock_names, seal_for_attempt
from core.messages.record import EventRecord, MessageKey, lock_leased
from core.messages.state_machine import MessageState, Transition
from core.messages.status import AttemptOutcome, EventSource, UnconfirmedPolicy
from core.ports import Channel, DeliveryLookup, Reference, ReportedStatus, Sighting, Sought
from core.ports.content import content_for, content_from_json
from core.pubsub import Hub
from core.sealing import SealBroken, Sealer

log = structlog.get_logger(__name__)


async def look_up(
    lookup: DeliveryLookup, integration: str, message_id: UUID, sought: Callable[[], Sought], deadline: timedelta
) -> Sequence[Sighting] | None:
    """What its books show; None when it could not be asked or could not say. Never raises.

    `sought` reads the message: one that cannot be read is not asked for.
    """
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            return await lookup.find(sought())
    except (ProviderError, TimeoutError, SealBroken) as error:
        reason = reason_of(error, deadline)
        log.warning("look_up_failed", integration=integration, message_id=str(message_id), **reason)
    except Exception:
        # Whatever another version wrote there: it would come back for ever, and its neighbours with it.
        log.exception("look_up_broke", integration=integration, message_id=str(message_id))
    return None


def reason_of(error: Exception, deadline: timedelta) -> dict[str, str]:
    """Why a question to a provider was not answered, as a log names it."""
    said = {"error": type(error).__name__}
    if isinstance(error, ProviderError):
        code = {"provider_code": error.provider_code} if error.provider_code else {}
        return {**said, "reason": error.message, **code}
    if isinstance(error, TimeoutError):
        return {**said, "reason": f"no whole answer within {deadline.total_seconds():.0f} s"}
    return {**said, "reason": str(error)}


# Doubts that are due: unconfirmed messages leased to one settler, with what is needed to ask the company about them.
#
# A doubt is left alone while a report about it lies unread in the inbox, and until everything that could have brought
# one has been at work, without a gap, for as long as doubts are held.


LOOKALIKE_WINDOW = timedelta(hours=1)
"""How far apart two attempts may have begun that one record of a provider's list may be: more than providers' clocks
and queues put between an attempt and its record."""


@dataclass(frozen=True, slots=True)
class UnconfirmedAttempt:
    """An attempt nobody knows the end of, of a message leased to be settled; `age` is for how long.

    Of a rival, which is not settled now, there is neither age nor token. `is_under_way` until its call has ended.
    """

    key: MessageKey
    attempt: int
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

    def sought(self, sealer: Sealer) -> Sought:
        """What the company is asked for; raises SealBroken, also where that is no longer kept."""
        tenant, row = self.key
        if self.to_sealed is None or self.content_sealed is None:
            raise SealBroken("what was sent is no longer kept")
        content = content_from_json(sealer.open(self.content_sealed, tenant=tenant, row=row, column="content"))
        return Sought(
            Reference(tenant, row, self.attempt),
            self.channel,
            sealer.open(self.to_sealed, tenant=tenant, row=row, column="to"),
            content_for(content, self.channel),
            self.started_at,
        )


_LEASE = text(f"""
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
    attempts.number, attempts.integration, attempts.channel, attempts.started_at
FROM leased CROSS JOIN LATERAL (
    -- Not its last number: what was claimed after the doubt and never begun was no attempt, and what was tried after it
    -- and refused is known.
    SELECT * FROM attempts
    WHERE tenant_id = leased.tenant_id AND message_id = leased.id AND started_at IS NOT NULL
    ORDER BY (outcome = 'UNCONFIRMED' AND rank = 0) DESC, number DESC LIMIT 1
) attempts
""").bindparams(bindparam("lease", type_=Interval))  # noqa: S608  # a constant is all that is filled in


async def lease_due(
    connection: AsyncConnection, *, worker: str, limit: int, timing: Timing
) -> list[UnconfirmedAttempt]:
    """Lease doubts that are due; none while we may have been deaf within the time that doubts are held."""
    heard = (await connection.execute(select(active_since().scalar_subquery() + timing.hold < text("now()")))).scalar()
    if not heard:
        return []
    rows = await connection.execute(_LEASE, {"worker": worker, "limit": limit, "lease": timing.lease})
    return [_doubt(row) for row in rows]


def _doubt(row: Row[Any]) -> UnconfirmedAttempt:
    return UnconfirmedAttempt(
        key=MessageKey(row.tenant_id, row.id),
        attempt=row.number,
        integration=row.integration,
        channel=Channel(row.channel),
        started_at=row.started_at,
        simulated_only=row.simulated_only,
        to_masked=row.to_masked,
        to_sealed=row.to_sealed,
        content_sealed=row.content_sealed,
        token=row.lease_token,
        age=row.age,
    )


# An address is masked alike for every tenant and under every key. One that is no longer kept may be any.
_RIVALS = text("""
SELECT DISTINCT ON (rival.tenant_id, rival.message_id, rival.number)
    rival.tenant_id, rival.message_id, rival.number, rival.integration, rival.channel, rival.started_at, rival.outcome,
    messages.simulated_only, messages.to_masked, messages.to_sealed, messages.content_sealed
FROM unnest(:tenants, :ids, :integrations, :starts, :masked)
    AS doubt(tenant_id, message_id, integration, started_at, to_masked)
JOIN LATERAL (
    SELECT * FROM attempts WHERE outcome IN ('IN_FLIGHT', 'UNCONFIRMED') AND integration = doubt.integration
        AND started_at BETWEEN doubt.started_at - :apart AND doubt.started_at + :apart
    -- Settled by hand as sent: it has a record, and nobody knows which.
    UNION ALL SELECT * FROM attempts WHERE outcome = 'ACCEPTED' AND rank = 1 AND integration = doubt.integration
        AND started_at BETWEEN doubt.started_at - :apart AND doubt.started_at + :apart
        AND provider_id_lookup IS NULL AND provider_message_id IS NULL AND channel <> 'EMAIL'
) rival ON (rival.tenant_id, rival.message_id) <> (doubt.tenant_id, doubt.message_id)
JOIN messages ON messages.tenant_id = rival.tenant_id AND messages.id = rival.message_id
    AND (messages.to_masked = doubt.to_masked OR messages.to_sealed IS NULL)
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
    connection: AsyncConnection, doubts: Sequence[UnconfirmedAttempt], *, limit: int
) -> list[UnconfirmedAttempt]:
    """Attempts of other messages, whosever, that one record of a provider's list may be as well, up to so many."""
    rows = await connection.execute(
        _RIVALS,
        {
            "tenants": [one.key.tenant_id for one in doubts],
            "ids": [one.key.message_id for one in doubts],
            "integrations": [one.integration for one in doubts],
            "starts": [one.started_at for one in doubts],
            "masked": [one.to_masked for one in doubts],
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


# Settling doubts: first the company is asked, where it can be; then the route's policy decides, and nothing else.


LONGEST_PAUSE = timedelta(hours=1)
"""Between two looks at the same doubt."""

_MOST_RIVALS = 500

Answer = Sequence[Sighting] | None
"""What a company knows; None when it was not asked or could not say."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the providers' lists show, of whom they may speak, and whose ids are known.

    `rivals` is None where there are too many attempts that look alike to be told apart.
    """

    answers: Mapping[AttemptKey, Answer]
    rivals: Sequence[UnconfirmedAttempt] | None
    holders: dict[ProviderName, AttemptKey]

    def free(self, doubt: UnconfirmedAttempt) -> Sequence[Sighting]:
        """The records that may be this attempt: nobody else is known to hold their ids."""
        found = self.answers.get(_about(doubt)) or ()
        names = [(doubt.integration, one.provider_message_id) for one in found]
        return [one for one, name in zip(found, names, strict=True) if self.holders.get(name) in (None, _about(doubt))]

    def has_rival(self, doubt: UnconfirmedAttempt, free: Sequence[Sighting]) -> bool:
        """Whether one of these records may be another message's, whose own fate is not known either."""
        if self.rivals is None:
            return True
        ids = {one.provider_message_id for one in free}
        return any(
            _may_be_alike(doubt, one) and ids & self._ids(one, otherwise=ids)
            for one in self.rivals
            if one.key != doubt.key
        )

    def _ids(self, rival: UnconfirmedAttempt, *, otherwise: Set[str]) -> Set[str]:
        answer = self.answers.get(_about(rival))
        return otherwise if answer is None else {one.provider_message_id for one in answer}


def _about(doubt: UnconfirmedAttempt) -> AttemptKey:
    return AttemptKey(doubt.key, doubt.attempt)


def _may_be_alike(doubt: UnconfirmedAttempt, rival: UnconfirmedAttempt) -> bool:
    is_known = rival.to_sealed is not None and rival.to_masked != doubt.to_masked
    is_near = abs(doubt.started_at - rival.started_at) <= LOOKALIKE_WINDOW
    return rival.integration == doubt.integration and is_near and not is_known


@dataclass(frozen=True, slots=True)
class Settler:
    """Settles what is due, with the companies that can be asked by the integration's name.

    Those that are not among the `simulated` are told nothing of what a test key sent.
    """

    database: Database
    sealer: Sealer
    hub: Hub
    lookups: Mapping[str, DeliveryLookup]
    worker: str
    timing: Timing
    simulated: frozenset[str] = frozenset()

    async def settle_due(self, *, limit: int = 50) -> int:
        """Settle up to so many doubts; returns how many were looked at."""
        await prepare_lookups(self.database, self.sealer)
        async with self.database.transaction() as connection:
            doubts = await lease_due(connection, worker=self.worker, limit=limit, timing=self.timing)
        if not doubts:
            return 0
        answers = await self._ask_all(doubts)
        # No tenants are named: one account serves them all, and its list shows the messages of all.
        async with self.database.transaction() as connection:
            evidence = await _evidence(connection, self.sealer, doubts, answers)
            unread = await with_unread_reports(connection, [doubt.key for doubt in doubts])
            about = {doubt.key: doubt for doubt in doubts}
            changes = await transition_all(
                connection,
                about,
                lambda inside, keys: lock_leased(inside, {key: about[key].token for key in keys}),
                lambda key, standing: self._decide(about[key], standing, evidence, has_word=key in unread),
            )
        await self.hub.publish(changes)
        return len(doubts)

    async def _ask_all(self, doubts: Sequence[UnconfirmedAttempt]) -> dict[AttemptKey, Answer]:
        """Ask about doubts, and about whatever else one of the records found may be."""
        asked = [one for one in doubts if self._can_ask(one)]
        if not asked:
            return {}
        async with self.database.transaction() as connection:
            rivals = await lookalikes_of(connection, asked, limit=_MOST_RIVALS)
        if len(rivals) == _MOST_RIVALS:
            return {}
        # What is under way just now will say by itself what became of it.
        all_asked = {_about(one): one for one in (*rivals, *asked) if not one.is_under_way and self._can_ask(one)}
        answers = await asyncio.gather(*(self._ask(one) for one in all_asked.values()))
        return dict(zip(all_asked, answers, strict=True))

    def _can_ask(self, doubt: UnconfirmedAttempt) -> bool:
        return doubt.integration in self.lookups and not (
            doubt.simulated_only and doubt.integration not in self.simulated
        )

    async def _ask(self, doubt: UnconfirmedAttempt) -> Answer:
        sought, deadline = partial(doubt.sought, self.sealer), self.timing.send_deadline
        return await look_up(self.lookups[doubt.integration], doubt.integration, doubt.key.message_id, sought, deadline)

    def _decide(
        self, doubt: UnconfirmedAttempt, standing: MessageState, evidence: Evidence, *, has_word: bool
    ) -> EventRecord:
        if has_word:
            # It came while the company was asked, and says more than any list: it is read first.
            move, detail = state_machine.keep_waiting(standing, timedelta(0)), "a report has come: it is read first"
        else:
            move, detail = self._by_list(doubt, standing, evidence) or self._by_policy(
                doubt, standing, evidence.answers.get(_about(doubt))
            )
        return EventRecord(
            key=doubt.key,
            before=standing,
            move=move,
            source=EventSource.SCHEDULER,
            attempt=doubt.attempt,
            integration=doubt.integration,
            detail=detail,
            is_told=move.standing.status is not standing.status,
        )

    def _by_list(
        self, doubt: UnconfirmedAttempt, standing: MessageState, evidence: Evidence
    ) -> tuple[Transition, str] | None:
        """What the provider's list says, as far as it can speak of this message alone."""
        free = evidence.free(doubt)
        if not free:
            return None
        own = sum(one.is_in_doubt and one.step == standing.step for one in standing.attempts.values())
        if len(free) > max(own, 1) or evidence.has_rival(doubt, free):
            if doubt.age >= GIVE_UP_AFTER:
                return None
            words = f"{doubt.integration}'s list shows what may be it or another message: nothing is decided by that"
            return state_machine.keep_waiting(standing, self._later(doubt)), words
        found = free[0]
        status, name = found.status or ReportedStatus.SENT, found.provider_message_id
        kept = seal_for_attempt(self.sealer, *doubt.key, doubt.attempt, name)
        move = state_machine.after_report(standing, doubt.attempt, status, found.failure, kept, is_from_list=True)
        if move is None:
            return None
        evidence.holders[doubt.integration, name] = _about(doubt)
        return move, f"{doubt.integration}'s list shows it: {status.lower()}"

    def _later(self, doubt: UnconfirmedAttempt) -> timedelta:
        return min(max(doubt.age / 2, self.timing.hold), LONGEST_PAUSE)

    def _waits_for_key(self, doubt: UnconfirmedAttempt) -> bool:
        """Whether the company could say what became of it, and nobody here can read whom it went to."""
        if doubt.integration not in self.lookups:
            return False
        try:
            doubt.sought(self.sealer)
        except SealBroken:
            return True
        return False

    def _by_policy(self, doubt: UnconfirmedAttempt, standing: MessageState, answer: Answer) -> tuple[Transition, str]:
        if doubt.age >= GIVE_UP_AFTER and not self._waits_for_key(doubt):
            return state_machine.give_up(standing), "nobody could say for three days"
        later = self._later(doubt)
        could_ask = doubt.integration in self.lookups
        if could_ask and answer is None:
            return state_machine.keep_waiting(standing, later), "the company could not be asked; nothing is decided"
        words = f"{doubt.integration} knows nothing of it" if could_ask else "no report has come"
        match standing.route[standing.step].on_unconfirmed:
            case _ if standing.is_expired:
                pass
            case UnconfirmedPolicy.RESEND if standing.latest.is_in_doubt and _unconfirmed_in_step(standing) < 2:
                return state_machine.send_again(standing), f"{words}: sent once more, as its route asks"
            case UnconfirmedPolicy.NEXT_CHANNEL if standing.has_next:
                return state_machine.go_on(standing), f"{words}: on to the next channel, as its route asks"
        return state_machine.keep_waiting(standing, later), f"{words}: waiting"


def _unconfirmed_in_step(standing: MessageState) -> int:
    return sum(one.step == standing.step and one.is_in_doubt for one in standing.attempts.values())


async def _evidence(
    connection: AsyncConnection,
    sealer: Sealer,
    doubts: Sequence[UnconfirmedAttempt],
    answers: Mapping[AttemptKey, Answer],
) -> Evidence:
    """What was found, weighed inside the transaction that decides.

    What has begun since the lists were read cannot be in them. First who else may be meant, then whose the ids are: an
    attempt that is given an id in between counts as both.
    """
    asked = [one for one in doubts if answers.get(_about(one))]
    names = {(one.integration, found.provider_message_id) for one in asked for found in answers[_about(one)] or ()}
    if not names:
        return Evidence(answers, (), {})
    await lock_names(connection, names)
    rivals = await lookalikes_of(connection, asked, limit=_MOST_RIVALS)
    holders = await holders_of(connection, sealer, names)
    return Evidence(answers, None if len(rivals) == _MOST_RIVALS else rivals, holders)
