"""One session of the simulated mail server with a client, and what the sessions of a server share."""

import asyncio
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from ssl import SSLContext
from typing import Protocol

from integrations.simulating.faults import CallerConnection, FaultKind, FaultOrder, Faults, respond_under_fault
from integrations.simulating.provider import Clock
from integrations.smtp.simulator.protocol import (
    BAD_SEQUENCE,
    BAD_SYNTAX,
    MAX_COMMAND,
    MAX_SIZE,
    OK,
    Reply,
    Sender,
    fault_reply,
    has_unread_input,
    read_line,
    read_mail,
    read_recipient,
    read_sender,
    reply,
)
from integrations.smtp.simulator.state import Mail, State, mail_refusal, recipient_refusal


class Note(Protocol):
    """Writes one command and its reply into the journal."""

    def __call__(
        self,
        command: str,
        reply: Reply | None,
        *,
        fault: str | None,
        prevented: bool,
        to: str | None,
        mail: Mail | None,
        body: str,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Account:
    """Who may send. `is_plain` lets a password travel unencrypted, as SMTP_TLS=none asks for on loopback."""

    username: str | None
    password: str = field(repr=False)
    is_plain: bool

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Account":
        """Read the variables that the adapter reads; without a user name anybody may send."""
        return cls(
            environment.get("SMTP_USERNAME") or None,
            environment.get("SMTP_PASSWORD", ""),
            environment.get("SMTP_TLS") == "none",
        )

    def admits(self, username: str, password: str) -> bool:
        """Whether this is the user; takes the same time for every wrong one."""
        given = f"{username}\0{password}".encode()
        return compare_digest(given, f"{self.username}\0{self.password}".encode())


@dataclass(frozen=True, slots=True)
class Server:
    """The mail server behind every session."""

    account: Account
    faults: Faults
    tls: SSLContext
    clock: Clock
    records: Callable[[], State]
    """The present ones: they are replaced whole."""
    note: Note


def decode_base64(encoded: str) -> str | None:
    """Base64 text as AUTH carries it; None when it is none."""
    try:
        return b64decode(encoded, validate=True).decode()
    except (NotBase64, UnicodeDecodeError, ValueError):
        return None


# One session with a mail client. https://www.rfc-editor.org/rfc/rfc5321, TLS of RFC 3207, AUTH of RFC 4954


HOST = "mx.simulator.localhost"
IDLE_TIMEOUT = 300
"""Seconds a silent client is waited for."""
MAX_RECIPIENTS = 100
_HTTP = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "HOST:"})
_GO_AHEAD = reply(354, "End data with <CR><LF>.<CR><LF>")
_WRONG_PASSWORD = reply(535, "5.7.8 Authentication credentials invalid")


class Ended(Exception):
    """The conversation is over."""


@dataclass(slots=True)
class Session:
    """One connection, from the greeting to its end."""

    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_encrypted: bool
    client: str | None = None
    user: str | None = None
    sender: Sender | None = None
    recipients: list[str] = field(default_factory=list)
    unsaid: bytearray = field(default_factory=bytearray)

    async def run(self) -> None:
        """Talk until one side has had enough."""
        try:
            await self._answer("connect", "", lambda: reply(220, f"{HOST} ESMTP"))
            while True:
                async with asyncio.timeout(IDLE_TIMEOUT):
                    line = await read_line(self.reader)
                if line is None:
                    return
                await self._obey(line)
        except TimeoutError:
            self.unsaid += bytes(reply(421, "4.4.2 Timeout"))
        except (Ended, ConnectionError):
            return
        finally:
            self._flush()

    async def _obey(self, line: bytes) -> None:
        verb, _, argument = line.rstrip(b"\r\n").decode("utf-8", "replace").partition(" ")
        commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._ehlo,
            "HELO": self._helo,
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
        }
        plain = {
            "RSET": self._rset,
            "NOOP": lambda: OK,
            "VRFY": lambda: reply(252, "2.5.2 Cannot verify, send a mail to try"),
            "QUIT": lambda: reply(221, "2.0.0 Bye", ends=True),
        }
        verb = verb.upper()
        if verb in _HTTP or "HTTP/1." in argument:
            # A page in a browser on this machine: what stands in its body would be taken for commands.
            await self._answer("other", verb, lambda: reply(221, "2.7.0 This is SMTP, not HTTP", ends=True))
            return
        if len(line) > MAX_COMMAND or not line.endswith(b"\r\n"):
            await self._answer("other", "(unreadable)", lambda: reply(500, "5.5.2 Line too long or without CRLF"))
        elif verb in commands:
            await commands[verb](argument.strip())
        else:
            unknown = lambda: reply(500, "5.5.2 Command unrecognized")  # noqa: E731
            await self._answer("other", f"{verb} {argument}".strip(), plain.get(verb, unknown))

    async def _ehlo(self, client: str) -> None:
        await self._answer("ehlo", f"EHLO {client}", lambda: self._greeted(client, self._extensions()))

    async def _helo(self, client: str) -> None:
        await self._answer("ehlo", f"HELO {client}", lambda: self._greeted(client, ()))

    def _greeted(self, client: str, extensions: tuple[str, ...]) -> Reply:
        if not client or " " in client:
            return BAD_SYNTAX
        self._rset()
        self.client = client
        return reply(250, HOST, *extensions)

    def _extensions(self) -> tuple[str, ...]:
        offered = [f"SIZE {MAX_SIZE}", "PIPELINING"]
        if not self.is_encrypted:
            offered.append("STARTTLS")
        if self.server.account.username and self._may_sign_in:
            offered.append("AUTH PLAIN LOGIN")
        return (*offered, "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8")

    @property
    def _may_sign_in(self) -> bool:
        return self.is_encrypted or self.server.account.is_plain

    async def _starttls(self, argument: str) -> None:
        if self.is_encrypted or self.client is None:
            await self._answer("other", "STARTTLS", lambda: BAD_SEQUENCE)
            return
        # What was sent before the handshake would be believed as if it had come encrypted (CVE-2011-0411).
        if argument or await has_unread_input(self.reader):
            await self._answer("other", "STARTTLS", lambda: reply(501, "5.5.4 Nothing may follow", ends=True))
        await self._answer("other", "STARTTLS", lambda: reply(220, "2.0.0 Ready to start TLS"))
        self._flush()
        try:
            await self.writer.start_tls(self.server.tls, ssl_handshake_timeout=10)
        except OSError as error:  # ssl.SSLError is one, and so is a client that walks away
            raise Ended from error
        self._rset()
        self.is_encrypted, self.client, self.user = True, None, None

    async def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        refusal = self._sign_in_refusal(mechanism.upper())
        if refusal is None:
            said = await (self._plain(initial) if mechanism.upper() == "PLAIN" else self._login(initial))
        else:
            said = refusal
        await self._answer("auth", f"AUTH {mechanism} •••", lambda: self._signed_in(said))

    def _sign_in_refusal(self, mechanism: str) -> Reply | None:
        if self.client is None or self.user is not None or self.sender is not None:
            return BAD_SEQUENCE
        if self.server.account.username is None:
            return reply(502, "5.5.1 Authentication is not needed here")
        if not self._may_sign_in:
            return reply(538, "5.7.11 Encryption required for requested authentication mechanism")
        return None if mechanism in ("PLAIN", "LOGIN") else reply(504, "5.5.4 Unrecognized authentication type")

    async def _plain(self, initial: str) -> tuple[str, str] | Reply:
        parts = (decode_base64(initial or await self._ask("")) or "").split("\0")
        return (parts[1], parts[2]) if len(parts) == 3 else reply(501, "5.5.2 Cannot decode")

    async def _login(self, initial: str) -> tuple[str, str] | Reply:
        username = decode_base64(initial or await self._ask("VXNlcm5hbWU6"))
        password = decode_base64(await self._ask("UGFzc3dvcmQ6")) if username is not None else None
        return reply(501, "5.5.2 Cannot decode") if username is None or password is None else (username, password)

    async def _ask(self, challenge: str) -> str:
        await self._say(reply(334, challenge))
        async with asyncio.timeout(IDLE_TIMEOUT):
            line = await read_line(self.reader)
        if line is None:
            raise Ended
        return line.decode("ascii", "replace").strip()

    def _signed_in(self, said: tuple[str, str] | Reply) -> Reply:
        if isinstance(said, Reply):
            return said
        if not self.server.account.admits(*said):
            return _WRONG_PASSWORD
        self.user = said[0]
        return reply(235, "2.7.0 Authentication successful")

    async def _mail(self, argument: str) -> None:
        def begin() -> Reply:
            if self.client is None or self.sender is not None:
                return BAD_SEQUENCE
            if self.server.account.username and self.user is None:
                return reply(530, "5.7.0 Authentication required")
            sender = read_sender(argument)
            if isinstance(sender, Reply):
                return sender
            self.sender = sender
            return reply(250, "2.1.0 Ok")

        await self._answer("mail", f"MAIL {argument}", begin)

    async def _rcpt(self, argument: str) -> None:
        def add() -> Reply:
            if self.sender is None:
                return BAD_SEQUENCE
            recipient = read_recipient(argument, self.sender)
            if isinstance(recipient, Reply):
                return recipient
            if len(self.recipients) >= MAX_RECIPIENTS:
                return reply(452, "4.5.3 Too many recipients")
            records, now = self.server.records(), self.server.clock.now()
            if refusal := recipient_refusal(recipient, self.sender.address, records, now):
                return refusal
            self.recipients.append(recipient)
            return reply(250, "2.1.5 Ok")

        to = argument.partition("<")[2].partition(">")[0]
        await self._answer("rcpt", f"RCPT {argument}", add, to=to)

    async def _data(self, argument: str) -> None:
        def begin() -> Reply:
            if argument:
                return BAD_SYNTAX
            if self.sender is None:
                return BAD_SEQUENCE
            return _GO_AHEAD if self.recipients else reply(554, "5.5.1 No valid recipients")

        # If a client does not wait for the reply, a mail may be read as commands, or commands as a mail.
        if await has_unread_input(self.reader):
            await self._answer("data", "DATA", lambda: reply(503, "5.5.0 Nothing may follow DATA", ends=True))
        if await self._answer("data", "DATA", begin) is not _GO_AHEAD or self.sender is None:
            return
        async with asyncio.timeout(IDLE_TIMEOUT):
            read = await read_mail(self.reader)
        if read is None:
            raise Ended
        raw, refusal = read
        now = self.server.clock.now()
        mail = Mail(self.sender.address, tuple(self.recipients), raw, self.is_encrypted, self.user, now)
        await self._end_of_data(mail, refusal or mail_refusal(self.recipients))
        self._rset()

    async def _end_of_data(self, mail: Mail, refusal: Reply | None) -> None:
        def take() -> Reply:
            if refusal is not None:
                return refusal
            self.server.records().mails[mail.id] = mail
            return reply(250, f"2.0.0 Ok: queued as {mail.id}")

        await self._answer("end-of-data", "(mail)", take, to=mail.recipients[0], mail=mail)

    def _rset(self) -> Reply:
        self.sender = None
        self.recipients = []
        return OK

    async def _answer(
        self, at: str, command: str, perform: Callable[[], Reply], *, to: str | None = None, mail: Mail | None = None
    ) -> Reply:
        """Do one command under the faults of its stage, note it, and reply; raises Ended when that was the end."""
        fault = self.server.faults.strike(at, to)
        prevented = fault is not None and fault.prevents

        def note(said: Reply | None) -> None:
            kind = fault.order.kind if fault else None
            body = mail.raw.decode("utf-8", "replace") if mail else ""
            self.server.note(command, said, fault=kind, prevented=prevented, to=to, mail=mail, body=body)

        def performed() -> Reply:
            said = perform()
            note(said)
            return said

        line = CallerConnection(self.writer.transport, is_gone=lambda: self.reader.at_eof() or self.writer.is_closing())
        said = await respond_under_fault(fault, line, performed, _fault_reply)
        if prevented:
            note(said)
        if said is None:
            raise Ended
        await self._say(said)
        if said.ends:
            raise Ended
        return said

    async def _say(self, said: Reply) -> None:
        """Reply; to commands that came together in one go, too."""
        if not self.unsaid:
            asyncio.get_running_loop().call_soon(self._flush)
        self.unsaid += bytes(said)
        await self.writer.drain()

    def _flush(self) -> None:
        if self.unsaid and not self.writer.is_closing():
            self.writer.write(bytes(self.unsaid))
        self.unsaid.clear()


def _fault_reply(order: FaultOrder) -> Reply:
    code = order.code if order.kind is FaultKind.CODE and order.code else "421"
    return fault_reply(code, order.text)
