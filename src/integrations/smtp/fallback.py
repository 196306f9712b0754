"""Two servers for one mail: the second takes what the first surely did not."""

import asyncio
from dataclasses import replace

from core.errors import FailureParty, FailureScope, ProviderMisconfigured, ProviderRejected, ProviderUnavailable
from core.ports import OutboundMessage, Receipt
from integrations.smtp.adapter import CONFIRMING, PREPARING, SmtpSender
from integrations.smtp.mail import Mail
from integrations.smtp.standing import Standing

FIRST, SECOND = "first server", "second server"


class FallbackSender:
    """Sends through one server, or else through the other, both within the time of one call."""

    def __init__(
        self,
        first: SmtpSender,
        second: SmtpSender,
        standing: Standing,
        *,
        preparing: float = PREPARING,
        confirming: float = CONFIRMING,
    ) -> None:
        self._servers = {FIRST: first, SECOND: second}
        self._standing = standing
        self._preparing = preparing
        self._confirming = confirming

    async def send(self, message: OutboundMessage) -> Receipt:
        """Hand the message over. A mail that may have been taken, or was refused for its own sake, goes to one server.

        The mail is built once: with the same Message-ID, whoever takes it.
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
