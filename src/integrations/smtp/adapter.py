"""Handing an e-mail to the relay, step by step, so that it is known whether it could have been taken."""

from aiosmtplib import SMTP, SMTPException, SMTPResponseException, SMTPSenderRefused

from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import EmailContent, OutboundMessage, Receipt
from integrations.smtp.connections import Connections
from integrations.smtp.errors import PROVIDER, error_of
from integrations.smtp.mail import build_mail
from integrations.smtp.settings import Settings

_TOO_BIG = 552


class SmtpSender:
    """Sends to one mailbox at a time over kept connections."""

    def __init__(self, settings: Settings, connections: Connections) -> None:
        self._settings = settings
        self._connections = connections

    async def send(self, message: OutboundMessage) -> Receipt:
        assert isinstance(message.content, EmailContent)  # noqa: S101  # accepted for this channel only as e-mail
        try:
            mail, needs_utf8 = build_mail(self._settings, message, message.content)
        except ValueError as error:
            raise ProviderRejected(
                "The address or the subject cannot stand in a mail's header.",
                provider=PROVIDER,
                reason=FailureReason.CONTENT_REJECTED,
                party=FailureParty.CALLER,
            ) from error
        async with self._connections.take() as client:
            await self._address(client, message.to, needs_utf8=needs_utf8)
            return await _hand_over(client, mail)

    async def _address(self, client: SMTP, to: str, *, needs_utf8: bool) -> None:
        """Say from whom and to whom; until the text has been sent, nothing can have been taken."""
        if needs_utf8 and not client.supports_extension("smtputf8"):
            raise ProviderRejected(
                "The relay carries no addresses outside ASCII (SMTPUTF8).",
                provider=PROVIDER,
                reason=FailureReason.INVALID_RECIPIENT,
                party=FailureParty.RECIPIENT,
            )
        options, encoding = (["SMTPUTF8"], "utf-8") if needs_utf8 else ([], "ascii")
        try:
            await client.mail(self._settings.sender_address, options=options, encoding=encoding)
            await client.rcpt(to, encoding=encoding)
        except SMTPSenderRefused as error:
            if error.code < 500 or error.code == _TOO_BIG:
                raise error_of(error.code, error.message) from error
            raise ProviderMisconfigured(
                "The relay does not let us send as SMTP_FROM.",
                provider=PROVIDER,
                provider_code=str(error.code),
                party=FailureParty.OPERATOR,
            ) from error
        except SMTPResponseException as error:
            raise error_of(error.code, error.message) from error
        except (SMTPException, OSError) as error:
            raise ProviderUnavailable("The relay hung up before the message was sent.", provider=PROVIDER) from error


async def _hand_over(client: SMTP, mail: bytes) -> Receipt:
    try:
        reply = await client.data(mail)
    except SMTPResponseException as error:
        raise error_of(error.code, error.message) from error
    except (SMTPException, OSError) as error:
        # The relay may have taken it and its reply been lost.
        raise OutcomeUnknown(
            f"The relay did not confirm the message ({type(error).__name__}).", provider=PROVIDER
        ) from error
    text = reply.message.splitlines()[-1] if reply.message else ""
    return Receipt(text.rpartition(" as ")[2].strip()[:200] or None, text[:200])
