"""Settling doubts: first the company is asked, where it can be; then the route's policy decides, and nothing else."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.keyring.lookup import prepare_lookups
from core.messages import transitions
from core.messages.asking import ask
from core.messages.doubts import Doubt, lease_doubts
from core.messages.moving import move_all
from core.messages.provider_ids import of_attempt
from core.messages.record import Key, Noted, attempts_named, lock_leased
from core.messages.timing import GIVE_UP, Timing
from core.messages.transitions import Move, Standing
from core.messages.unread import unread_about
from core.messages.values import EventSource, UnconfirmedPolicy
from core.ports import DeliveryLookup, ReportedStatus, Sighting
from core.pubsub import Hub
from core.sealing import Sealer

LONGEST_PAUSE = timedelta(hours=1)
"""Between two looks at the same doubt."""

_ONE_AT_A_TIME = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('sighting ' || name, 0)) FROM unnest(:names) AS name"
).bindparams(bindparam("names", type_=ARRAY(Text)))

Answer = Sequence[Sighting] | None
"""What a company knows; None when it was not asked or could not say."""
Taken = dict[tuple[str, str], tuple[Key, int]]
"""Whose attempt a company's id stands for already, by integration and id."""


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
        answers = await asyncio.gather(*(self._ask(doubt) for doubt in doubts))
        async with self.database.transaction(*{doubt.key.tenant_id for doubt in doubts}) as connection:
            taken = await _known_already(connection, self.sealer, doubts, answers)
            unread = await unread_about(connection, [doubt.key for doubt in doubts])
            about = {doubt.key: (doubt, answer) for doubt, answer in zip(doubts, answers, strict=True)}
            changes = await move_all(
                connection,
                about,
                lambda inside, keys: lock_leased(inside, {key: about[key][0].token for key in keys}),
                lambda key, standing: self._decide(*about[key], standing, taken, has_word=key in unread),
            )
        await self.hub.publish(changes)
        return len(doubts)

    async def _ask(self, doubt: Doubt) -> Answer:
        lookup = self.lookups.get(doubt.integration)
        is_kept_from = doubt.simulated_only and doubt.integration not in self.simulated
        if lookup is None or doubt.has_twin or is_kept_from:
            return None
        sought, deadline = partial(doubt.sought, self.sealer), self.timing.send_deadline
        return await ask(lookup, doubt.integration, doubt.key.message_id, sought, deadline)

    def _decide(self, doubt: Doubt, answer: Answer, standing: Standing, taken: Taken, *, has_word: bool) -> Noted:
        if has_word:
            # It came while the company was asked, and says more than any books: it is read first.
            move, detail = transitions.keep_waiting(standing, timedelta(0)), "a report has come: it is read first"
        else:
            move, detail = self._by_books(doubt, standing, answer, taken) or self._by_policy(doubt, standing, answer)
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

    def _by_books(self, doubt: Doubt, standing: Standing, answer: Answer, taken: Taken) -> tuple[Move, str] | None:
        for sighting in answer or ():
            name, ours = sighting.provider_message_id, (doubt.key, doubt.attempt)
            if taken.get((doubt.integration, name), ours) != ours:
                continue
            status = sighting.status or ReportedStatus.SENT
            kept = of_attempt(self.sealer, *doubt.key, doubt.attempt, name)
            move = transitions.after_report(standing, doubt.attempt, status, sighting.failure, kept)
            if move is not None:
                taken[doubt.integration, name] = ours
                return move, f"{doubt.integration}'s books show it: {status.lower()}"
        return None

    def _by_policy(self, doubt: Doubt, standing: Standing, answer: Answer) -> tuple[Move, str]:
        if doubt.age >= GIVE_UP:
            return transitions.give_up(standing), "nobody could say for three days"
        later = min(max(doubt.age / 2, self.timing.hold), LONGEST_PAUSE)
        could_ask = doubt.integration in self.lookups
        if could_ask and answer is None:
            return transitions.keep_waiting(standing, later), "the company could not be asked; nothing is decided"
        words = f"{doubt.integration} knows nothing of it" if could_ask else "no report has come"
        match standing.route[standing.step].on_unconfirmed:
            case UnconfirmedPolicy.RESEND if _doubts_of_step(standing) < 2:
                return transitions.send_again(standing), f"{words}: sent once more, as its route asks"
            case UnconfirmedPolicy.NEXT_CHANNEL if standing.has_next:
                return transitions.go_on(standing), f"{words}: on to the next channel, as its route asks"
        return transitions.keep_waiting(standing, later), f"{words}: waiting"


def _doubts_of_step(standing: Standing) -> int:
    return sum(one.step == standing.step and one.is_in_doubt for one in standing.attempts.values())


async def _known_already(
    connection: AsyncConnection, sealer: Sealer, doubts: Sequence[Doubt], answers: Sequence[Answer]
) -> Taken:
    """Whose attempts the sighted messages are already: what is found in the books may be another one of ours.

    Until the end of the transaction no other settler is told the same of the same sightings.
    """
    sighted = {
        (doubt.integration, sighting.provider_message_id)
        for doubt, answer in zip(doubts, answers, strict=True)
        for sighting in answer or ()
    }
    if not sighted:
        return {}
    # One order for everybody, so that two wait for each other instead of deadlocking.
    await connection.execute(_ONE_AT_A_TIME, {"names": sorted(f"{company} {name}" for company, name in sighted)})
    return await attempts_named(connection, sealer, sighted)
