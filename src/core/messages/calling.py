"""One call to a company about one claimed message: opened, sent under a hard deadline, its end told in our words."""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

import structlog

from core.ending import is_being_ended
from core.errors import FailureParty, FailureScope, OutcomeUnknown, ProviderError, ProviderUnavailable
from core.messages.claim import Claimed
from core.messages.content import content_for, content_from_json
from core.messages.outcomes import kept_from, unreadable
from core.ports import MessageSender, OutboundMessage, Receipt, Reference
from core.sealing import Sealer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a call; `ticket` names the stretch of the circuit's life in which it began, `took` is how long it was.

    Where nobody was called there is no ticket, and it took no time.
    """

    one: Claimed
    result: Receipt | ProviderError
    ticket: int | None = None
    took: timedelta = timedelta(0)

    @property
    def error(self) -> ProviderError | None:
        """What went wrong, if anything did."""
        return self.result if isinstance(self.result, ProviderError) else None


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes the calls of one channel to one company; `is_simulated` when none of them leaves this machine.

    What has not begun at `begin_by`, by this process's own clock, could end after its lease has, and is not begun.
    """

    integration: str
    sender: MessageSender
    sealer: Sealer
    deadline: timedelta
    begin_by: float
    is_simulated: bool = False

    async def call(self, one: Claimed, ticket: int | None) -> Ended:
        """Send one message; raises nothing of its own: whatever breaks is a way for the call to end."""
        if one.simulated_only and not self.is_simulated:
            # The last door there is: whatever brought it here, a fallback or another try, it goes no further. Nobody
            # was called, so nobody is judged by it.
            return Ended(one, kept_from(self.integration))
        try:
            message = self._open(one)
        except Exception:
            # A row nobody can read would come back for ever; its neighbours must not wait for it. The company was not
            # called, so it is not judged by this either.
            log.exception("message_unreadable", message_id=str(one.key.message_id))
            return Ended(one, unreadable(self.integration))
        began = time.monotonic()
        if began > self.begin_by:
            # We slept after it was written down as begun, and somebody may have been told since to send it.
            return Ended(one, _overslept(self.integration))
        result = await self._send(message)
        return Ended(one, result, ticket, timedelta(seconds=time.monotonic() - began))

    async def _send(self, message: OutboundMessage) -> Receipt | ProviderError:
        seconds = self.deadline.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                return await self.sender.send(message)
        except ProviderError as error:
            return error
        except TimeoutError:
            return OutcomeUnknown(f"{self.integration} did not answer within {seconds:g} s.", provider=self.integration)
        except (Exception, asyncio.CancelledError) as error:
            if is_being_ended(error):
                raise
            # Whatever broke may have broken after the bytes left.
            log.exception("send_broke", integration=self.integration, message_id=str(message.reference.message_id))
            words = "Something broke on our side while sending."
            return OutcomeUnknown(words, provider=self.integration, scope=FailureScope.OURS)

    def _open(self, one: Claimed) -> OutboundMessage:
        tenant, row = one.key
        content = content_from_json(self.sealer.open(one.content_sealed, tenant=tenant, row=row, column="content"))
        return OutboundMessage(
            reference=Reference(tenant, row, one.attempt),
            channel=one.channel,
            to=self.sealer.open(one.to_sealed, tenant=tenant, row=row, column="to"),
            content=content_for(content, one.channel),
            in_reply_to=one.quoted,
        )


def _overslept(integration: str) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The worker was held up for too long to begin, and {integration} was not called.",
        provider=integration,
        party=FailureParty.OPERATOR,
        scope=FailureScope.OURS,
    )
