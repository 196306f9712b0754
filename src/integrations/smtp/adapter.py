"""Handing an e-mail to the relay."""

import asyncio

from core.errors import FailureParty, FailureReason, ProviderRejected, ProviderUnavailable
from core.ports import EmailContent, OutboundMessage, Receipt
from integrations.smtp.connections import Connections
from integrations.smtp.errors import PROVIDER
from integrations.smtp.mail import Mail, build_mail
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
        mail = self._build(message)
        try:
            async with asyncio.timeout(self._preparing) as patience, self._connections.take() as client:
                await begin(client, mail)
                patience.reschedule(None)
                return await hand_over(client, mail, seconds=self._confirming)
        except TimeoutError as error:
            raise ProviderUnavailable("The relay was not ready for the message in time.", provider=PROVIDER) from error

    def _build(self, message: OutboundMessage) -> Mail:
        assert isinstance(message.content, EmailContent)  # noqa: S101  # accepted for this channel only as e-mail
        try:
            return build_mail(self._settings, message, message.content)
        except ValueError as error:
            raise ProviderRejected(
                "The address or the subject cannot stand in a mail's header.",
                provider=PROVIDER,
                reason=FailureReason.CONTENT_REJECTED,
                party=FailureParty.CALLER,
            ) from error
