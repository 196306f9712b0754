"""Kept connections to the relay: signing in costs more than a mail does."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from aiosmtplib import SMTP, SMTPException, SMTPResponse
from aiosmtplib.errors import SMTPAuthenticationError, SMTPHeloError, SMTPResponseException

from core.errors import FailureParty, FailureScope, ProviderError, ProviderMisconfigured, ProviderUnavailable
from integrations.smtp.errors import PROVIDER, refusal_of_us
from integrations.smtp.line import Line
from integrations.smtp.servers import Server, Tls
from integrations.smtp.settings import Settings
from integrations.smtp.transaction import TryAnother

TIMEOUT = 10.0
_MAX_IDLE = 20.0
_MAX_USES = 100
_MAX_REFUSALS = 10
"""Refusals without a mail between them, after which a connection is replaced. Postfix slows a client down from then on
(smtpd_soft_error_limit), and soon hangs up. A recipient refused among several commands counts twice: so does DATA."""
_STEP_BY_STEP = 600.0
"""Seconds for which a relay that got lost among several commands is given one at a time."""

log = structlog.get_logger(__name__)
Done = TypeVar("Done")


@dataclass(slots=True)
class Progress:
    """How far a mail has come; `scope` is what it would say about the relay if its time ran out now."""

    scope: FailureScope = FailureScope.OURS


class _Client(SMTP):
    """The library's client; "later" to EHLO is an answer, and no reason to go on with HELO, which offers nothing."""

    async def ehlo(self, **options: Any) -> SMTPResponse:
        try:
            return await super().ehlo(**options)
        except SMTPHeloError as error:
            if error.code < 500:
                raise SMTPResponseException(error.code, error.message) from error
            raise


class Connections:
    """Some signed-in connections to one server, each used for one mail at a time, again and again."""

    def __init__(self, settings: Settings, server: Server | None = None) -> None:
        self._server = server or settings.first
        self._own_name = settings.sender_address.rpartition("@")[2]
        self._idle: list[tuple[Line, float]] = []
        self._open = asyncio.Semaphore(settings.connections)
        self._context: ssl.SSLContext | None = None
        self._step_by_step_until = 0.0

    async def use(self, work: Callable[[Line], Awaitable[Done]], progress: Progress | None = None) -> Done:
        """Lend a connection for some work, and another one while the work says that it was of no use.

        It is kept when the work ends well or in a plain refusal, and thrown away when an answer is still owed. Raises
        ProviderUnavailable or ProviderMisconfigured when none can be had: nothing has been sent then.
        """
        progress = progress or Progress()
        async with self._open:
            while True:
                progress.scope = FailureScope.PROVIDER
                line = self._kept() or await self._connect()
                line.is_pipelining = line.offers("pipelining") and time.monotonic() >= self._step_by_step_until
                try:
                    done = await work(line)
                except TryAnother:
                    self._throw_away(line)
                except ProviderError as error:
                    self._named(error)
                    if line.is_at_rest:
                        self._keep(line)
                    else:
                        self._throw_away(line)
                    raise
                except BaseException:
                    self._throw_away(line)
                    raise
                else:
                    line.refusals = 0
                    self._keep(line)
                    return done

    def _named(self, error: ProviderError) -> ProviderError:
        """The error with the names of this server's settings."""
        error.message = self._server.named(error.message)
        error.args = (error.message,)
        return error

    def _kept(self) -> Line | None:
        while self._idle:
            line, since = self._idle.pop()
            if line.is_open and time.monotonic() - since < _MAX_IDLE:
                return line
            line.part()
        return None

    def _keep(self, line: Line) -> None:
        line.uses += 1
        if line.is_open and line.uses < _MAX_USES and line.refusals < _MAX_REFUSALS:
            self._idle.append((line, time.monotonic()))
        else:
            line.part()

    def _throw_away(self, line: Line) -> None:
        line.hang_up()
        if line.has_lost_its_way:
            self._step_by_step_until = time.monotonic() + _STEP_BY_STEP
            log.warning("smtp_pipelining_left_aside", server=self._server.prefix, seconds=_STEP_BY_STEP)

    async def _connect(self) -> Line:
        server = self._server
        client = _Client(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password.get_secret_value() if server.password else None,
            local_hostname=self._own_name,
            use_tls=server.tls is Tls.IMPLICIT,
            # Never "if offered": whoever sits between could strip the offer.
            start_tls=server.tls is Tls.STARTTLS,
            tls_context=self._tls(),
            timeout=TIMEOUT,
        )
        try:
            await client.connect()
            return await _taken_over(client)
        except SMTPAuthenticationError as error:
            what = "our credentials: see SMTP_USERNAME, SMTP_PASSWORD"
            raise self._named(refusal_of_us(error.code, error.message, what)) from error
        except SMTPResponseException as error:
            raise refusal_of_us(error.code, error.message, "to speak with us") from error
        except (SMTPException, OSError, UnicodeError) as error:
            raise _explain(error, server) from error

    def _tls(self) -> ssl.SSLContext | None:
        if self._context is None and self._server.tls is not Tls.NONE:
            try:
                self._context = ssl.create_default_context(cafile=self._server.ca_file)
            except OSError as error:
                raise _misconfigured("SMTP_CA_FILE holds no certificates in PEM form.", self._server) from error
        return self._context

    async def close(self) -> None:
        """Say goodbye on every idle connection."""
        idle, self._idle = self._idle, []
        await asyncio.gather(*(line.say_goodbye(1.0) for line, _ in idle))


async def _taken_over(client: SMTP) -> Line:
    """Go on with what the library has opened, once the relay has said what it can do."""
    try:
        if client.is_ehlo_or_helo_needed:
            try:
                await client.ehlo()
            except SMTPHeloError:
                await client.helo()
        return Line.taken_over(client)
    except BaseException:
        client.close()
        raise


def _explain(error: Exception, server: Server) -> ProviderError:
    """Why there is no connection; the library says some of it only in words."""
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _misconfigured("The relay's certificate is not one we trust: see SMTP_HOST and SMTP_CA_FILE.", server)
    if isinstance(cause, ssl.SSLError):
        return _misconfigured("The relay and we cannot agree on TLS: see SMTP_TLS and SMTP_PORT.", server)
    if isinstance(cause, UnicodeError):
        return _misconfigured("SMTP_HOST is not the name of a host.", server)
    if type(cause) is SMTPException and "STARTTLS extension" in str(cause):
        return _misconfigured("The relay offers no STARTTLS; nothing is sent unencrypted.", server)
    if type(cause) is SMTPException and server.tls is Tls.NONE:
        # Many relays offer it on an encrypted connection only.
        return _misconfigured(
            "The relay offers no way to sign in without encryption: set SMTP_TLS to starttls or implicit, "
            "or leave SMTP_USERNAME and SMTP_PASSWORD out.",
            server,
        )
    if type(cause) is SMTPException:
        return _misconfigured("The relay offers no way to sign in that we know: see SMTP_USERNAME.", server)
    words = f"The relay could not be reached ({type(cause).__name__})."
    return ProviderUnavailable(words, provider=PROVIDER, scope=FailureScope.PROVIDER)


def _misconfigured(message: str, server: Server) -> ProviderMisconfigured:
    return ProviderMisconfigured(
        server.named(message), provider=PROVIDER, party=FailureParty.OPERATOR, scope=FailureScope.PROVIDER
    )
