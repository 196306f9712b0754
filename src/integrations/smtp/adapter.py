"""Sends e-mail through a relay, and through a second server if the first certainly did not accept the mail."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import structlog

from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import EmailContent, OutboundMessage, Receipt
from integrations.smtp.connections import Connection, ConnectionPool, Progress
from integrations.smtp.errors import PROVIDER
from integrations.smtp.mail import Mail, SenderHeaders, build_mail
from integrations.smtp.settings import Settings
from integrations.smtp.transaction import send_envelope, send_text

log = structlog.get_logger(__name__)

FAILURES_BEFORE_FAILOVER = 3
"""Failures in a row after which the first server is left aside."""
FIRST_FAILOVER, LONGEST_FAILOVER = 30.0, 600.0
"""Seconds it is left aside at first, and at most."""


class FailoverState:
    """What this process has seen of the first server; `failures` are those since it last took or judged a mail."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self._now = now
        self._pauses = 0
        self._until = 0.0

    def goes_first(self) -> bool:
        """Whether the next mail is the first server's. At the end of a pause one mail tries it, the others wait."""
        if self._pauses == 0:
            return True
        if self._now() < self._until:
            return False
        self._leave_aside()
        return True

    def failed(self, error: ProviderError) -> None:
        """It did not take a mail, for a reason that was the server's own."""
        self.failures += 1
        if self.failures >= FAILURES_BEFORE_FAILOVER and self._pauses == 0:
            self._leave_aside()
        aside = max(0.0, self._until - self._now())
        log.warning(
            "smtp_first_server_failed",
            failures=self.failures,
            error=type(error).__name__,
            reason=error.message,
            provider_code=error.provider_code,
            left_aside_for=round(aside),
        )

    def served(self) -> None:
        """It took a mail, or refused one as a server does that is well."""
        if self.failures:
            log.info("smtp_first_server_well_again", failures=self.failures)
        self.failures = self._pauses = 0

    def _leave_aside(self) -> None:
        self._until = self._now() + min(LONGEST_FAILOVER, FIRST_FAILOVER * 2.0**self._pauses)
        self._pauses += 1


# Sending an e-mail through the relay.


ENVELOPE_TIMEOUT = 8.0
"""Seconds until the text may leave: waiting for a connection, signing in, naming sender and recipient."""
TEXT_TIMEOUT = 10.0
"""Seconds for the text and the relay's word on it. Both together are less than core waits for a call."""


class SmtpSender:
    """Sends to one mailbox at a time over kept connections."""

    def __init__(
        self,
        settings: Settings,
        connections: ConnectionPool,
        *,
        preparing: float = ENVELOPE_TIMEOUT,
        confirming: float = TEXT_TIMEOUT,
    ) -> None:
        self._settings = settings
        self._connections = connections
        self._preparing = preparing
        self._confirming = confirming

    async def send(self, message: OutboundMessage) -> Receipt:
        return await self.say(self.build(message), preparing=self._preparing, confirming=self._confirming)

    async def say(self, mail: Mail, *, preparing: float, confirming: float) -> Receipt:
        """Hand a mail over; both times are in seconds."""
        progress = Progress()
        try:
            async with asyncio.timeout(preparing) as patience:

                async def carry(line: Connection) -> Receipt:
                    # The relay may wait for the recipient's server, or for what it knows of the recipient.
                    progress.scope = FailureScope.UNCLEAR
                    await send_envelope(line, mail)
                    patience.reschedule(None)
                    return await send_text(line, mail, seconds=confirming)

                return await self._connections.use(carry, progress)
        except TimeoutError as error:
            raise ProviderUnavailable(
                "The relay was not ready for the message in time.", provider=PROVIDER, scope=progress.scope
            ) from error

    def build(self, message: OutboundMessage) -> Mail:
        """Build the mail; raises ProviderRejected where no header can hold what it says."""
        assert isinstance(message.content, EmailContent)  # noqa: S101  # accepted for this channel only as e-mail
        try:
            return build_mail(self._letterhead, message, message.content)
        except ValueError as error:
            raise ProviderRejected(
                "The address or the subject cannot stand in a mail's header.",
                provider=PROVIDER,
                reason=FailureReason.CONTENT_REJECTED,
                party=FailureParty.CALLER,
            ) from error

    @cached_property
    def _letterhead(self) -> SenderHeaders:
        return SenderHeaders.of(self._settings)


# Two servers for one mail: the second is used if the first certainly did not accept it.


FIRST, SECOND = "first server", "second server"


class FallbackSender:
    """Sends through one server, or else through the other, both within the time of one call."""

    def __init__(
        self,
        first: SmtpSender,
        second: SmtpSender,
        standing: FailoverState,
        *,
        preparing: float = ENVELOPE_TIMEOUT,
        confirming: float = TEXT_TIMEOUT,
    ) -> None:
        self._servers = {FIRST: first, SECOND: second}
        self._standing = standing
        self._preparing = preparing
        self._confirming = confirming

    async def send(self, message: OutboundMessage) -> Receipt:
        """Hand the message over. A mail that may have been taken, or was refused for its own sake, goes to one server.

        The mail is built once: it has the same Message-ID on both servers.
        """
        mail = self._servers[FIRST].build(message)
        one, other = (FIRST, SECOND) if self._standing.goes_first() else (SECOND, FIRST)
        now = asyncio.get_running_loop().time
        over = now() + self._preparing + self._confirming
        try:
            return await self._say(mail, one, self._preparing / 2, self._confirming)
        except (ProviderUnavailable, ProviderMisconfigured) as trouble:
            left = over - now()
            if _concerns_the_mailbox(trouble) or left < self._confirming / 2:
                raise
            share = left / (self._preparing + self._confirming)
            return await self._say(mail, other, self._preparing * share, self._confirming * share)

    async def _say(self, mail: Mail, name: str, preparing: float, confirming: float) -> Receipt:
        try:
            receipt = await self._servers[name].say(mail, preparing=preparing, confirming=confirming)
        except (ProviderUnavailable, ProviderMisconfigured) as trouble:
            if name == FIRST and trouble.scope in (FailureScope.PROVIDER, FailureScope.UNCLEAR):
                self._standing.failed(trouble)
            raise
        except ProviderRejected:
            if name == FIRST:
                self._standing.served()
            raise
        if name == FIRST:
            self._standing.served()
        return replace(receipt, detail=": ".join(filter(None, (name, receipt.detail))))


def _concerns_the_mailbox(trouble: ProviderUnavailable | ProviderMisconfigured) -> bool:
    """Whether any other server would have to say the same, such as that the mailbox is full for now."""
    return trouble.party is FailureParty.RECIPIENT
