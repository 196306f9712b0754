"""Handing an e-mail to the relay."""

import asyncio
from functools import cached_property

from core.errors import FailureParty, FailureReason, FailureScope, ProviderRejected, ProviderUnavailable
from core.ports import EmailContent, OutboundMessage, Receipt
from integrations.smtp.connections import Connections, Progress
from integrations.smtp.errors import PROVIDER
from integrations.smtp.line import Line
from integrations.smtp.mail import Letterhead, Mail, build_mail
from integrations.smtp.settings import Settings
from integrations.smtp.transaction import begin, hand_over

PREPARING = 8.0
"""Seconds until the text may leave: waiting for a connection, signing in, naming sender and recipient."""
CONFIRMING = 10.0
"""Seconds for the text and the relay's word on it. Both together are less than core waits for a call."""


class SmtpSender:
    """Sends to one mailbox at a time over kept connections."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        *,
        preparing: float = PREPARING,
        confirming: float = CONFIRMING,
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

                async def carry(line: Line) -> Receipt:
                    # The relay may wait for the recipient's server, or for what it knows of the recipient.
                    progress.scope = FailureScope.UNCLEAR
                    await begin(line, mail)
                    patience.reschedule(None)
                    return await hand_over(line, mail, seconds=confirming)

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
    def _letterhead(self) -> Letterhead:
        return Letterhead.of(self._settings)
