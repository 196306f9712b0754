"""Settling doubts: first the company is asked, where it can be; then the route's policy decides, and nothing else."""

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.keyring.lookup import prepare_lookups
from core.messages import transitions
from core.messages.asking import ask
from core.messages.doubts import RIVALS_WITHIN, Doubt, lease_doubts, rivals_of
from core.messages.holders import About, Name, hold_names, holders_of
from core.messages.moving import move_all
from core.messages.provider_ids import of_attempt
from core.messages.record import Noted, lock_leased
from core.messages.timing import GIVE_UP, Timing
from core.messages.transitions import Move, Standing
from core.messages.unread import unread_about
from core.messages.values import EventSource, UnconfirmedPolicy
from core.ports import DeliveryLookup, ReportedStatus, Sighting
from core.pubsub import Hub
from core.sealing import SealBroken, Sealer

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

    answers: Mapping[About, Answer]
    rivals: Sequence[Doubt] | None
    holders: dict[Name, About]

    def free(self, doubt: Doubt) -> Sequence[Sighting]:
        """The records that may be this attempt: nobody else is known to hold their ids."""
        found = self.answers.get(_about(doubt)) or ()
        names = [(doubt.integration, one.provider_message_id) for one in found]
        return [one for one, name in zip(found, names, strict=True) if self.holders.get(name) in (None, _about(doubt))]

    def has_rival(self, doubt: Doubt, free: Sequence[Sighting]) -> bool:
        """Whether one of these records may be another message's, whose own fate is not known either."""
        if self.rivals is None:
            return True
        ids = {one.provider_message_id for one in free}
        return any(
            _may_be_alike(doubt, one) and ids & self._ids(one, otherwise=ids)
            for one in self.rivals
            if one.key != doubt.key
        )

    def _ids(self, rival: Doubt, *, otherwise: Set[str]) -> Set[str]:
        answer = self.answers.get(_about(rival))
        return otherwise if answer is None else {one.provider_message_id for one in answer}


def _about(doubt: Doubt) -> About:
    return About(doubt.key, doubt.attempt)


def _may_be_alike(doubt: Doubt, rival: Doubt) -> bool:
    is_known = rival.to_sealed is not None and rival.to_masked != doubt.to_masked
    is_near = abs(doubt.started_at - rival.started_at) <= RIVALS_WITHIN
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
            doubts = await lease_doubts(connection, worker=self.worker, limit=limit, timing=self.timing)
        if not doubts:
            return 0
        answers = await self._ask_all(doubts)
        # No tenants are named: one account serves them all, and its list shows the messages of all.
        async with self.database.transaction() as connection:
            evidence = await _evidence(connection, self.sealer, doubts, answers)
            unread = await unread_about(connection, [doubt.key for doubt in doubts])
            about = {doubt.key: doubt for doubt in doubts}
            changes = await move_all(
                connection,
                about,
                lambda inside, keys: lock_leased(inside, {key: about[key].token for key in keys}),
                lambda key, standing: self._decide(about[key], standing, evidence, has_word=key in unread),
            )
        await self.hub.publish(changes)
        return len(doubts)

    async def _ask_all(self, doubts: Sequence[Doubt]) -> dict[About, Answer]:
        """Ask about doubts, and about whatever else one of the records found may be."""
        asked = [one for one in doubts if self._can_ask(one)]
        if not asked:
            return {}
        async with self.database.transaction() as connection:
            rivals = await rivals_of(connection, asked, limit=_MOST_RIVALS)
        if len(rivals) == _MOST_RIVALS:
            return {}
        # What is under way just now will say by itself what became of it.
        all_asked = {_about(one): one for one in (*rivals, *asked) if not one.is_under_way and self._can_ask(one)}
        answers = await asyncio.gather(*(self._ask(one) for one in all_asked.values()))
        return dict(zip(all_asked, answers, strict=True))

    def _can_ask(self, doubt: Doubt) -> bool:
        return doubt.integration in self.lookups and not (
            doubt.simulated_only and doubt.integration not in self.simulated
        )

    async def _ask(self, doubt: Doubt) -> Answer:
        sought, deadline = partial(doubt.sought, self.sealer), self.timing.send_deadline
        return await ask(self.lookups[doubt.integration], doubt.integration, doubt.key.message_id, sought, deadline)

    def _decide(self, doubt: Doubt, standing: Standing, evidence: Evidence, *, has_word: bool) -> Noted:
        if has_word:
            # It came while the company was asked, and says more than any list: it is read first.
            move, detail = transitions.keep_waiting(standing, timedelta(0)), "a report has come: it is read first"
        else:
            move, detail = self._by_list(doubt, standing, evidence) or self._by_policy(
                doubt, standing, evidence.answers.get(_about(doubt))
            )
        return Noted(
            key=doubt.key,
            before=standing,
            move=move,
            source=EventSource.SCHEDULER,
            attempt=doubt.attempt,
            integration=doubt.integration,
            detail=detail,
            is_told=move.standing.status is not standing.status,
        )

    def _by_list(self, doubt: Doubt, standing: Standing, evidence: Evidence) -> tuple[Move, str] | None:
        """What the provider's list says, as far as it can speak of this message alone."""
        free = evidence.free(doubt)
        if not free:
            return None
        own = sum(one.is_in_doubt and one.step == standing.step for one in standing.attempts.values())
        if len(free) > max(own, 1) or evidence.has_rival(doubt, free):
            if doubt.age >= GIVE_UP:
                return None
            words = f"{doubt.integration}'s list shows what may be it or another message: nothing is decided by that"
            return transitions.keep_waiting(standing, self._later(doubt)), words
        found = free[0]
        status, name = found.status or ReportedStatus.SENT, found.provider_message_id
        kept = of_attempt(self.sealer, *doubt.key, doubt.attempt, name)
        move = transitions.after_report(standing, doubt.attempt, status, found.failure, kept, is_from_list=True)
        if move is None:
            return None
        evidence.holders[doubt.integration, name] = _about(doubt)
        return move, f"{doubt.integration}'s list shows it: {status.lower()}"

    def _later(self, doubt: Doubt) -> timedelta:
        return min(max(doubt.age / 2, self.timing.hold), LONGEST_PAUSE)

    def _waits_for_key(self, doubt: Doubt) -> bool:
        """Whether the company could say what became of it, and nobody here can read whom it went to."""
        if doubt.integration not in self.lookups:
            return False
        try:
            doubt.sought(self.sealer)
        except SealBroken:
            return True
        return False

    def _by_policy(self, doubt: Doubt, standing: Standing, answer: Answer) -> tuple[Move, str]:
        if doubt.age >= GIVE_UP and not self._waits_for_key(doubt):
            return transitions.give_up(standing), "nobody could say for three days"
        later = self._later(doubt)
        could_ask = doubt.integration in self.lookups
        if could_ask and answer is None:
            return transitions.keep_waiting(standing, later), "the company could not be asked; nothing is decided"
        words = f"{doubt.integration} knows nothing of it" if could_ask else "no report has come"
        match standing.route[standing.step].on_unconfirmed:
            case _ if standing.is_expired:
                pass
            case UnconfirmedPolicy.RESEND if standing.latest.is_in_doubt and _doubts_of_step(standing) < 2:
                return transitions.send_again(standing), f"{words}: sent once more, as its route asks"
            case UnconfirmedPolicy.NEXT_CHANNEL if standing.has_next:
                return transitions.go_on(standing), f"{words}: on to the next channel, as its route asks"
        return transitions.keep_waiting(standing, later), f"{words}: waiting"


def _doubts_of_step(standing: Standing) -> int:
    return sum(one.step == standing.step and one.is_in_doubt for one in standing.attempts.values())


async def _evidence(
    connection: AsyncConnection, sealer: Sealer, doubts: Sequence[Doubt], answers: Mapping[About, Answer]
) -> Evidence:
    """What was found, weighed inside the transaction that decides.

    What has begun since the lists were read cannot be in them. First who else may be meant, then whose the ids are: an
    attempt that is given an id in between counts as both.
    """
    asked = [one for one in doubts if answers.get(_about(one))]
    names = {(one.integration, found.provider_message_id) for one in asked for found in answers[_about(one)] or ()}
    if not names:
        return Evidence(answers, (), {})
    await hold_names(connection, names)
    rivals = await rivals_of(connection, asked, limit=_MOST_RIVALS)
    holders = await holders_of(connection, sealer, names)
    return Evidence(answers, None if len(rivals) == _MOST_RIVALS else rivals, holders)
