"""Connections to a relay: pipelined commands, sign-in, and connections kept for the next mail.

The library that opens it hears one reply for one command, and loses what else comes with it.
"""

import asyncio
import re
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import structlog
from aiosmtplib import SMTP, SMTPException, SMTPResponse
from aiosmtplib.errors import SMTPAuthenticationError, SMTPHeloError, SMTPResponseException, SMTPServerDisconnected

from core.errors import (
    FailureParty,
    FailureScope,
    ProviderError,
    ProviderMisconfigured,
    ProviderUnavailable,
)
from integrations.smtp.errors import PROVIDER, session_error
from integrations.smtp.settings import Server, Settings, Tls

_MAX_REPLY_LENGTH = 32_768
_SERVICE_CLOSING = 421
# A control character could end a command and begin another.
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([^0-9]?)(.*)", re.DOTALL)


class Reply(NamedTuple):
    """What the relay said, its lines one below the other."""

    code: int
    text: str


class ConnectionLost(Exception):
    """The connection is no more, or nothing that comes over it can be trusted any longer."""


class Connection(asyncio.Protocol):
    """One connection; `uses` counts what it was lent for before, `is_pipelining` lets commands leave together.

    `refusals` counts the refusals since the last accepted mail. `has_lost_its_way` is true once the relay does not
    answer such commands as it should.
    """

    def __init__(self, transport: asyncio.Transport, extensions: Collection[str]) -> None:
        self.uses = 0
        self.refusals = 0
        self.is_pipelining = False
        self.has_lost_its_way = False
        self._transport = transport
        self._extensions = frozenset(extensions)
        self._said = bytearray()
        self._texts: list[bytes] = []
        self._code = b""
        self._replies: deque[Reply] = deque()
        self._owed = 0
        self._waiter: asyncio.Future[None] | None = None
        self._is_broken = False

    @classmethod
    def taken_over(cls, client: SMTP) -> "Connection":
        """Go on with a connection that the library has opened and signed in to; raises SMTPServerDisconnected."""
        protocol = client.protocol
        if protocol is None or not protocol.is_connected:
            raise SMTPServerDisconnected("Connection lost")
        transport = cast(asyncio.Transport, protocol.transport)
        line = cls(transport, client.esmtp_extensions)
        transport.set_protocol(line)
        return line

    @property
    def is_open(self) -> bool:
        """Whether it can still be used."""
        return not (self._is_broken or self._transport.is_closing())

    @property
    def is_at_rest(self) -> bool:
        """Whether it is open and every command was answered, so that the next one has an answer of its own."""
        return self.is_open and self._owed == 0 and not self._replies

    def offers(self, extension: str) -> bool:
        """Whether the relay has said that it knows an extension; in small letters."""
        return extension in self._extensions

    def say(self, *commands: bytes) -> None:
        """Send commands in one write; each is owed a reply. Raises HungUp, and ValueError for more than a command."""
        if any(_CONTROL.search(command) for command in commands):
            raise ValueError("A command holds a control character.")
        self.write(b"".join(command + b"\r\n" for command in commands))
        self._owed += len(commands)

    def write(self, data: bytes) -> None:
        """Send a text, or a piece of one; raises HungUp where not a byte of it can have left."""
        if self.is_open:
            self._transport.write(data)
        # Not even the first write of it succeeded.
        if not self.is_open:
            raise ConnectionLost

    def end_text(self, rest: bytes = b"") -> None:
        """Send the last of a text with its dot, for which a reply is owed."""
        self.write(rest + b".\r\n")
        self._owed += 1

    async def until_written(self) -> None:
        """Wait until nothing of what was written is still in our hands."""
        while self._transport.get_write_buffer_size():  # noqa: ASYNC110  # its only event comes before the last byte
            await asyncio.sleep(0.01)

    async def hear(self) -> Reply:
        """The next reply; raises HungUp when none will come."""
        while not self._replies:
            if not self.is_open:
                raise ConnectionLost
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._replies.popleft()

    def hang_up(self) -> None:
        """End it at once; what has not left yet never will."""
        self._transport.abort()

    def part(self) -> None:
        """Say goodbye, and do not wait for what the other side says to it."""
        if self.is_open:
            self._transport.write(b"QUIT\r\n")
        self._transport.close()

    async def say_goodbye(self, seconds: float) -> None:
        """End it as one should, if the other side is quick enough."""
        try:
            async with asyncio.timeout(seconds):
                self.say(b"QUIT")
                await self.hear()
        except (ConnectionLost, TimeoutError):
            pass
        finally:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._said += data
        while not self._is_broken and (end := self._said.find(b"\n")) >= 0:
            line = bytes(self._said[:end]).rstrip(b"\r")
            del self._said[: end + 1]
            self._read(line)
        if len(self._said) + sum(map(len, self._texts)) > _MAX_REPLY_LENGTH:
            self._is_broken = True
        self._wake()

    def _read(self, line: bytes) -> None:
        found = _REPLY_LINE.fullmatch(line)
        if found is None or (self._code and self._code != found[1]):
            # It cannot be read.
            self._is_broken = True
            return
        self._code = found[1]
        self._texts.append(found[3].strip())
        if found[2] == b"-":
            return
        text = b"\n".join(self._texts).decode("utf-8", "surrogateescape")
        self._texts.clear()
        self._hear(Reply(int(self._code), text))
        self._code = b""

    def _hear(self, reply: Reply) -> None:
        if self._owed == 0:
            # Said unasked: whatever is asked next would be answered by it.
            self._is_broken = True
            return
        self._owed -= 1
        self._replies.append(reply)
        if reply.code >= 400:
            self.refusals += 1
        if reply.code == _SERVICE_CLOSING:
            # Whatever it was asked, the relay hears no more.
            self._is_broken = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_broken = True
        self._wake()


# Connections to the relay are kept, because signing in costs more than sending a mail.


CONNECT_TIMEOUT = 10.0
_MAX_IDLE = 20.0
_MAX_USES = 100
_MAX_REFUSALS = 10
"""Refusals without a mail between them, after which a connection is replaced. Postfix slows a client down from then on
(smtpd_soft_error_limit), and soon hangs up. A recipient refused among several commands counts twice: so does DATA."""
_PIPELINING_PAUSE = 600.0
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


class ConnectionPool:
    """Some signed-in connections to one server, each used for one mail at a time, again and again."""

    def __init__(self, settings: Settings, server: Server | None = None) -> None:
        self._server = server or settings.first
        self._own_name = settings.sender_address.rpartition("@")[2]
        self._idle: list[tuple[Connection, float]] = []
        self._open = asyncio.Semaphore(settings.connections)
        self._context: ssl.SSLContext | None = None
        self._step_by_step_until = 0.0

    async def use(self, work: Callable[[Connection], Awaitable[Done]], progress: Progress | None = None) -> Done:
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
                except ConnectionUnusable:
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

    def _kept(self) -> Connection | None:
        while self._idle:
            line, since = self._idle.pop()
            if line.is_open and time.monotonic() - since < _MAX_IDLE:
                return line
            line.part()
        return None

    def _keep(self, line: Connection) -> None:
        line.uses += 1
        if line.is_open and line.uses < _MAX_USES and line.refusals < _MAX_REFUSALS:
            self._idle.append((line, time.monotonic()))
        else:
            line.part()

    def _throw_away(self, line: Connection) -> None:
        line.hang_up()
        if line.has_lost_its_way:
            self._step_by_step_until = time.monotonic() + _PIPELINING_PAUSE
            log.warning("smtp_pipelining_left_aside", server=self._server.prefix, seconds=_PIPELINING_PAUSE)

    async def _connect(self) -> Connection:
        server = self._server
        client = _Client(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password.get_secret_value() if server.password else None,
            local_hostname=self._own_name,
            use_tls=server.tls is Tls.IMPLICIT,
            # Never "if offered": an attacker in the network could remove the offer.
            start_tls=server.tls is Tls.STARTTLS,
            tls_context=self._tls(),
            timeout=CONNECT_TIMEOUT,
        )
        try:
            await client.connect()
            return await _take_over(client)
        except SMTPAuthenticationError as error:
            what = "our credentials: see SMTP_USERNAME, SMTP_PASSWORD"
            raise self._named(session_error(error.code, error.message, what)) from error
        except SMTPResponseException as error:
            raise session_error(error.code, error.message, "to speak with us") from error
        except (SMTPException, OSError, UnicodeError) as error:
            raise _connection_error(error, server) from error

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


async def _take_over(client: SMTP) -> Connection:
    """Go on with what the library has opened, once the relay has said what it can do."""
    try:
        if client.is_ehlo_or_helo_needed:
            try:
                await client.ehlo()
            except SMTPHeloError:
                await client.helo()
        return Connection.taken_over(client)
    except BaseException:
        client.close()
        raise


def _connection_error(error: Exception, server: Server) -> ProviderError:
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


class ConnectionUnusable(Exception):
    """This connection is of no use, and nothing was taken over it; another one may do better."""
