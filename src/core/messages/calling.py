"""One call to a company about one claimed message: opened, sent under a hard deadline, its end told in our words."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from core.ending import is_being_ended
from core.errors import FailureParty, FailureScope, OutcomeUnknown, ProviderError, ProviderUnavailable
from core.messages.claim import Claimed, Opened
from core.messages.content import content_for, content_from_json
from core.messages.outcomes import kept_from
from core.messages.record import Key
from core.ports import MessageSender, OutboundMessage, Receipt, Reference
from core.sealing import SealBroken, Sealer

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
    deadline: timedelta
    begin_by: float
    is_simulated: bool = False

    async def call(self, one: Claimed, ticket: int | None) -> Ended:
        """Send one message; raises nothing of its own: whatever breaks is a way for the call to end."""
        if one.simulated_only and not self.is_simulated:
            # The last door there is: whatever brought it here, a fallback or another try, it goes no further. Nobody
            # was called, so nobody is judged by it.
            return Ended(one, kept_from(self.integration))
        if one.opened is None:
            raise LookupError("what is claimed is opened before it is begun")
        message = _outbound(one, one.opened)
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


def open_all(sealer: Sealer, claimed: Sequence[Claimed]) -> tuple[list[Claimed], dict[Key, str]]:
    """Read claimed messages back; those that cannot be read are given apart, with the reason.

    A key may be missing here or mistyped, a row altered, or written by a later version: it is not the message's fault,
    so such a one is not begun, and does not fail.
    """
    readable, unreadable = [], {}
    for one in claimed:
        try:
            readable.append(replace(one, opened=_open(sealer, one)))
        except Exception as error:  # noqa: BLE001  # whatever it is: its neighbours do not wait for it
            unreadable[one.key] = str(error) if isinstance(error, SealBroken) else type(error).__name__
    return readable, unreadable


def _open(sealer: Sealer, one: Claimed) -> Opened:
    tenant, row = one.key
    content = content_from_json(sealer.open(one.content_sealed, tenant=tenant, row=row, column="content"))
    return Opened(sealer.open(one.to_sealed, tenant=tenant, row=row, column="to"), content_for(content, one.channel))


def _outbound(one: Claimed, opened: Opened) -> OutboundMessage:
    reference = Reference(*one.key, one.attempt)
    return OutboundMessage(reference, one.channel, opened.to, opened.content, in_reply_to=one.quoted)


def _overslept(integration: str) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"The worker was held up for too long to begin, and {integration} was not called.",
        provider=integration,
        party=FailureParty.OPERATOR,
        scope=FailureScope.OURS,
    )
