"""One mail over one connection, step by step, so that it is known whether the relay could have taken it.

Until the dot that ends the text has left, it could not; from then on only its own reply says whether it did.
https://www.rfc-editor.org/rfc/rfc5321#section-4.1.1.4, and https://www.rfc-editor.org/rfc/rfc2920 for what may leave
in one write: all that is said before the text, though it is told for each command what became of it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from core.characters import refused_on_line
from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import Receipt
from integrations.smtp.codes import Stage
from integrations.smtp.connections import Connection, ConnectionLost, ConnectionUnusable, Reply
from integrations.smtp.errors import PROVIDER, SERVICE_CLOSING, provider_error, redacted
from integrations.smtp.mail import Mail

CHECK_TIMEOUT = 2.0
"""Seconds in which a kept connection must show that the other side is still there."""
SINGLE_WRITE_LIMIT = 16 * 1024
"""Octets of a text that leave together with their dot; the system takes as many from us in one go."""
_CHUNK = 64 * 1024
"""Octets of a longer text that are written before we look whether they are out of our hands."""
_GO_AHEAD = 354
_STAGES = (Stage.MAIL, Stage.RCPT, Stage.DATA)


async def check_connection(line: Connection) -> None:
    """Make sure that a kept connection is still one, and end whatever was begun over it; raises TryAnother."""
    if line.uses:
        try:
            line.say(b"RSET")
        except ConnectionLost as error:
            raise ConnectionUnusable from error
        await _expect_success(line)


async def send_envelope(line: Connection, mail: Mail) -> None:
    """Say from whom and to whom, and be told to go ahead; whatever goes wrong, nothing has been taken.

    Raises TryAnother where another connection may do better, and a ProviderError where it may not.
    """
    if mail.needs_utf8 and not line.offers("smtputf8"):
        raise _needs_smtputf8(mail)
    sender = f"MAIL FROM:<{mail.sender}>{' SMTPUTF8' if mail.needs_utf8 else ''}"
    commands = (sender.encode(), f"RCPT TO:<{mail.recipient}>".encode(), b"DATA")
    await (_pipelined if line.is_pipelining else _step_by_step)(line, commands)


def _needs_smtputf8(mail: Mail) -> ProviderError:
    if not mail.sender.isascii():
        return ProviderMisconfigured(
            "The relay carries no sender outside ASCII (SMTPUTF8): see SMTP_FROM.",
            provider=PROVIDER,
            party=FailureParty.OPERATOR,
            scope=FailureScope.PROVIDER,
        )
    return ProviderRejected(
        "The relay carries no addresses outside ASCII (SMTPUTF8).",
        provider=PROVIDER,
        reason=FailureReason.INVALID_RECIPIENT,
        party=FailureParty.RECIPIENT,
    )


async def _step_by_step(line: Connection, commands: Sequence[bytes]) -> None:
    await check_connection(line)
    try:
        for stage, command in zip(_STAGES, commands, strict=True):
            line.say(command)
            reply = await line.hear()
            if _is_unexpected(stage, reply):
                line.hang_up()
                raise ConnectionLost
            if refusal := _refusal(stage, reply):
                raise refusal
    except ConnectionLost as error:
        raise _connection_lost() from error


async def _pipelined(line: Connection, commands: Sequence[bytes]) -> None:
    """All in one write. A relay that offers this and answers otherwise than it should is to be asked step by step."""
    try:
        line.say(*([b"RSET"] if line.uses else []), *commands)
        if line.uses:
            await _expect_success(line)
        for left, stage in enumerate(_STAGES, 1 - len(_STAGES)):
            reply = await line.hear()
            if _is_unexpected(stage, reply):
                raise ConnectionLost
            if refusal := _refusal(stage, reply):
                if reply.code != SERVICE_CLOSING:
                    await _read_remaining(line, -left)
                raise refusal
    except ConnectionLost as error:
        line.has_lost_its_way = True
        raise ConnectionUnusable from error
    except asyncio.CancelledError:
        line.has_lost_its_way = True
        raise


async def _read_remaining(line: Connection, left: int) -> None:
    """Hear what becomes of the commands behind one that was refused.

    A refusal counts only when all have come, and the connection is good for the next mail then: a relay that is
    confused by many at once refuses and hangs up.
    """
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            rest = [await line.hear() for _ in range(left)]
    except TimeoutError as error:
        raise ConnectionLost from error
    if rest and rest[-1].code == _GO_AHEAD:
        # It waits for a text, and would take even an empty one.
        line.hang_up()


async def _expect_success(line: Connection) -> None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            reply = await line.hear()
    except (ConnectionLost, TimeoutError) as error:
        raise ConnectionUnusable from error
    if not 200 <= reply.code < 300:
        raise ConnectionUnusable


def _is_unexpected(stage: Stage, reply: Reply) -> bool:
    """Whether a reply is neither a refusal nor what may follow MAIL, RCPT or DATA.

    The first digit counts, as RFC 5321 4.2.1 has it: a recipient answered with 251 or 252 is taken too.
    """
    expected = {_GO_AHEAD} if stage is Stage.DATA else range(200, 300)
    return reply.code < 400 and reply.code not in expected


def _refusal(stage: Stage, reply: Reply) -> ProviderError | None:
    """What a reply means to MAIL, RCPT or DATA; None when it is as it should be."""
    return provider_error(stage, reply.code, reply.text) if reply.code >= 400 else None


async def send_text(line: Connection, mail: Mail, *, seconds: float) -> Receipt:
    """Say the text and its dot, and hear whether the relay has taken it."""
    has_left = False
    text = mail.raw.replace(b"\n.", b"\n..")
    try:
        async with asyncio.timeout(seconds):
            if len(text) > SINGLE_WRITE_LIMIT:
                # As long as it is not out of our hands, its dot can be held back. In pieces: what is encrypted counts
                # as written when it is, and only where much of it is left behind does the next piece have to wait.
                for begins in range(0, len(text), _CHUNK):
                    line.write(text[begins : begins + _CHUNK])
                    await line.until_written()
                text = b""
            line.end_text(text)
            has_left = True
            reply = await line.hear()
    except (ConnectionLost, TimeoutError) as error:
        if not has_left:
            # Half a text must not be followed by another mail's.
            line.hang_up()
            raise _connection_lost() from error
        raise OutcomeUnknown(
            f"The relay did not confirm the message ({type(error).__name__}).", provider=PROVIDER
        ) from error
    if 400 <= reply.code < 600:
        raise provider_error(Stage.TEXT, reply.code, reply.text)
    if not 200 <= reply.code < 300:
        line.hang_up()
        raise OutcomeUnknown(
            "The relay's reply to the message cannot be read.",
            provider=PROVIDER,
            answer=redacted(reply.code, reply.text),
        )
    return replace(_receipt(reply.text, mail.recipient), answer=redacted(reply.code, reply.text))


def _connection_lost() -> ProviderUnavailable:
    return ProviderUnavailable("The relay hung up before it had the message.", provider=PROVIDER)


def _receipt(reply: str, recipient: str) -> Receipt:
    """The relay's name for the mail, such as `4bX9` in `2.0.0 Ok: queued as 4bX9`, unless its words tell too much."""
    words = reply.splitlines()[-1][:200] if reply else ""
    if refused_on_line(words) or recipient.lower() in words.lower():
        return Receipt(None)
    return Receipt(words.rpartition(" as ")[2].strip() or None, words or None)
