"""One mail over one connection, step by step, so that it is known whether the relay could have taken it.

Until the dot that ends the text has left, it could not; from then on only its own reply says whether it did.
https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.4
"""

import asyncio
import re
from dataclasses import replace

from aiosmtplib import SMTP, SMTPException, SMTPResponseException, SMTPSenderRefused
from aiosmtplib.errors import SMTPDataError, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol

from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import Receipt
from integrations.smtp.errors import PROVIDER, error_of
from integrations.smtp.mail import Mail
from integrations.smtp.replies import in_plain

_GO_AHEAD = 354
_TOO_BIG = 552
_DOT_AT_LINE_START = re.compile(rb"^\.", re.MULTILINE)


async def begin(client: SMTP, mail: Mail) -> None:
    """Say from whom and to whom, and be told to go ahead; whatever goes wrong, nothing has been taken."""
    if mail.needs_utf8 and not client.supports_extension("smtputf8"):
        raise ProviderRejected(
            "The relay carries no addresses outside ASCII (SMTPUTF8).",
            provider=PROVIDER,
            reason=FailureReason.INVALID_RECIPIENT,
            party=FailureParty.RECIPIENT,
        )
    options, encoding = (["SMTPUTF8"], "utf-8") if mail.needs_utf8 else ([], "ascii")
    try:
        await client.mail(mail.sender, options=options, encoding=encoding)
        await client.rcpt(mail.recipient, encoding=encoding)
        reply = await client.execute_command(b"DATA")
        if reply.code != _GO_AHEAD:
            raise SMTPDataError(reply.code, reply.message)
    except SMTPSenderRefused as error:
        if error.code < 500 or error.code == _TOO_BIG:
            raise error_of(error.code, error.message) from error
        raise ProviderMisconfigured(
            "The relay does not let us send as SMTP_FROM.",
            provider=PROVIDER,
            provider_code=str(error.code),
            party=FailureParty.OPERATOR,
            answer=in_plain(error.code, error.message),
        ) from error
    except SMTPResponseException as error:
        raise error_of(error.code, error.message) from error
    except (SMTPException, OSError) as error:
        raise _hung_up() from error


async def hand_over(client: SMTP, mail: Mail, *, seconds: float) -> Receipt:
    """Say the text and its dot, and hear whether the relay has taken it."""
    has_left = False
    try:
        async with asyncio.timeout(seconds):
            protocol = await _say_text(client, mail.raw)
            protocol.write(b".\r\n")
            has_left = True
            reply = await protocol.read_response()
    except (SMTPException, OSError) as error:
        if not has_left:
            raise _hung_up() from error
        raise OutcomeUnknown(
            f"The relay did not confirm the message ({type(error).__name__}).", provider=PROVIDER
        ) from error
    if 400 <= reply.code < 600:
        raise error_of(reply.code, reply.message)
    if not 200 <= reply.code < 300:
        raise OutcomeUnknown(
            "The relay's reply to the message cannot be read.",
            provider=PROVIDER,
            answer=in_plain(reply.code, reply.message),
        )
    return replace(_receipt(reply.message, mail.recipient), answer=in_plain(reply.code, reply.message))


async def _say_text(client: SMTP, text: bytes) -> SMTPProtocol:
    """Write the text, and wait until it is out of our hands: as long as it is not, its dot can be held back."""
    protocol = client.protocol
    if protocol is None or not isinstance(transport := protocol.transport, asyncio.WriteTransport):
        raise SMTPServerDisconnected("Connection lost")
    protocol.write(_DOT_AT_LINE_START.sub(b"..", text))
    while transport.get_write_buffer_size():  # noqa: ASYNC110  # its only event goes to the library's protocol
        await asyncio.sleep(0.01)
    return protocol


def _hung_up() -> ProviderUnavailable:
    return ProviderUnavailable("The relay hung up before it had the message.", provider=PROVIDER)


def _receipt(reply: str, recipient: str) -> Receipt:
    """The relay's name for the mail, such as `4bX9` in `2.0.0 Ok: queued as 4bX9`, unless its words tell too much."""
    words = reply.splitlines()[-1][:200] if reply else ""
    if not words.isprintable() or recipient.lower() in words.lower():
        return Receipt(None)
    return Receipt(words.rpartition(" as ")[2].strip() or None, words or None)
