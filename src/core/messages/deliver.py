"""Delivering a channel's due messages: claim in batches, send at once, write outcomes back as they come, tell."""

import asyncio
from dataclasses import dataclass, field

import structlog

from core.database import Database
from core.errors import OutcomeUnknown, Overloaded, ProviderError
from core.messages.claim import SEND_DEADLINE, Claimed, begin, claim
from core.messages.content import content_from_json
from core.messages.outcomes import judge, unreadable
from core.messages.record import Noted, lock_standings, write_moves
from core.messages.replies import with_quotes
from core.messages.transitions import after_outcome
from core.messages.values import EventSource
from core.ports import Channel, MessageSender, OutboundMessage, Receipt, Reference
from core.pubsub import Change, Hub
from core.sealing import Sealer

log = structlog.get_logger(__name__)

Ended = tuple[Claimed, Receipt | ProviderError]


@dataclass(slots=True)
class Courier:
    """Carries one channel's messages to one company, up to `in_flight` at a time."""

    channel: Channel
    integration: str
    sender: MessageSender
    database: Database
    sealer: Sealer
    hub: Hub
    worker: str
    in_flight: int = 50
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: set[asyncio.Task[Ended]] = field(default_factory=set)
    _is_stopping: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Say that there may be work; cheap, and may be said too often."""
        self._woken.set()

    def stop(self) -> None:
        """Claim no more; `ended` is set once what is under way has been written down."""
        self._is_stopping = True
        self._woken.set()

    async def rest(self, longest: float) -> None:
        """Wait for a wake-up, at most so many seconds; once stopped, for ever."""
        if self._is_stopping and not self._sending:
            self.ended.set()
            await asyncio.Event().wait()
        try:
            async with asyncio.timeout(longest):
                await self._woken.wait()
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Send until nothing is due and nothing is under way."""
        is_more = True
        while is_more or self._sending:
            if self._woken.is_set():
                self._woken.clear()
                is_more = True
            free = self.in_flight - len(self._sending)
            if self._is_stopping:
                is_more = False
            elif is_more and free:
                begun = await self._claim_and_begin(free)
                is_more = len(begun) == free
                for one in begun:
                    self._sending.add(asyncio.create_task(self._send(one)))
                # After the calls have begun: a worker that dies while it tells leaves less that nobody knows about.
                await self.hub.publish(Change(*one.key) for one in begun)
            if self._sending:
                await self._record_some()

    async def _claim_and_begin(self, limit: int) -> list[Claimed]:
        async with self.database.transaction() as connection:
            claimed = await claim(connection, self.channel, self.integration, worker=self.worker, limit=limit)
        if not claimed:
            return []
        async with self.database.transaction(*{one.key.tenant_id for one in claimed}) as connection:
            begun = await begin(connection, claimed)
            return await with_quotes(connection, self.integration, [one for one in claimed if one.key in begun])

    async def _send(self, one: Claimed) -> Ended:
        try:
            message = self._open(one)
        except Exception:
            # A row nobody can read would come back for ever; its neighbours must not wait for it.
            log.exception("message_unreadable", message_id=str(one.key.message_id))
            return one, unreadable(self.integration)
        try:
            async with asyncio.timeout(SEND_DEADLINE.total_seconds()):
                return one, await self.sender.send(message)
        except ProviderError as error:
            return one, error
        except TimeoutError:
            return one, OutcomeUnknown(
                f"{self.integration} did not answer within {SEND_DEADLINE.total_seconds():.0f} s.",
                provider=self.integration,
            )
        except Exception:
            # Whatever broke may have broken after the bytes left.
            log.exception("send_broke", integration=self.integration, message_id=str(one.key.message_id))
            return one, OutcomeUnknown("Something broke on our side while sending.", provider=self.integration)

    def _open(self, one: Claimed) -> OutboundMessage:
        tenant, row = one.key
        return OutboundMessage(
            reference=Reference(tenant, row, one.attempt),
            channel=one.channel,
            to=self.sealer.open(one.to_sealed, tenant=tenant, row=row, column="to"),
            content=content_from_json(self.sealer.open(one.content_sealed, tenant=tenant, row=row, column="content")),
            in_reply_to=one.quoted,
        )

    async def _record_some(self) -> None:
        """Wait for the first calls to end, or for more work, and write down all that have ended by then."""
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait({*self._sending, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        ended = [task for task in self._sending if task.done()]
        if not ended:
            return
        try:
            await self._record([task.result() for task in ended])
        except Overloaded:
            # The database is away: the outcomes are tried again, not forgotten.
            raise
        except Exception:
            log.exception("outcomes_not_written", integration=self.integration)
            await self._record_each(ended)
        self._sending.difference_update(ended)

    async def _record_each(self, ended: list[asyncio.Task[Ended]]) -> None:
        """Write outcomes down one by one; what cannot be written is let go, so that it holds up nobody for ever."""
        for task in ended:
            try:
                await self._record([task.result()])
            except Overloaded:
                raise
            except Exception:
                # Its lease runs out, and the message is UNCONFIRMED: which is what we know of it.
                log.exception("outcome_unwritable", message_id=str(task.result()[0].key.message_id))
            self._sending.discard(task)

    async def _record(self, ended: list[Ended]) -> None:
        async with self.database.transaction(*{one.key.tenant_id for one, _ in ended}) as connection:
            standings = await lock_standings(connection, [one.key for one, _ in ended])
            noted = []
            for one, result in ended:
                before = standings[one.key]
                step = before.attempts[one.attempt].step
                tries = sum(other.step == step and other.number <= one.attempt for other in before.attempts.values())
                verdict = judge(one.attempt, step, tries, self.integration, result)
                move = after_outcome(before, verdict.attempt, retry_in=verdict.wait)
                standings[one.key] = move.standing
                noted.append(
                    Noted(
                        key=one.key,
                        before=before,
                        move=move,
                        attempt=one.attempt,
                        source=EventSource.WORKER,
                        detail=verdict.detail,
                        has_ended=True,
                    )
                )
            changes = await write_moves(connection, noted)
        await self.hub.publish(changes)
