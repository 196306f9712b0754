"""The simulated mail server: strict ESMTP with STARTTLS and implicit TLS; mails are stored, not forwarded."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from ssl import SSLContext
from tempfile import TemporaryDirectory
from typing import ClassVar

from integrations.simulating.faults import FaultKind, FaultOrder
from integrations.simulating.journal import Direction, Entry, Journal, Verdict
from integrations.simulating.provider import ControlRefused, Json, SimulatedProvider, dump_state, load_state
from integrations.smtp.simulator.protocol import BUFFER, Reply
from integrations.smtp.simulator.session import Account, Server, Session
from integrations.smtp.simulator.state import Mail, State, server_context

REPORTS_NOTHING = (
    "smtp reports nothing about a mail it has taken: neither that it was delivered or read, nor, since we receive no "
    "e-mail, that it bounced. Let it be refused instead, by a recipient with a fixed outcome or a fault."
)


class Simulator(SimulatedProvider):
    """A mail relay with one user."""

    name = "smtp"
    points: ClassVar[Sequence[str]] = ("end-of-data", "connect", "ehlo", "auth", "mail", "rcpt", "data")
    faults_known: ClassVar[frozenset[FaultKind]] = frozenset(
        {FaultKind.CODE, FaultKind.TIMEOUT, FaultKind.RESET, FaultKind.SLOW}
    )

    def __init__(self, environment: Mapping[str, str], journal: Journal) -> None:
        super().__init__(environment, journal)
        self.account = Account.read(environment)
        self.records = State()
        self._servers: list[asyncio.Server] = []
        self._sessions: set[asyncio.Task[None]] = set()
        self._folder: TemporaryDirectory[str] | None = None

    async def start(self) -> Json:
        """Listen; returns both ports and the file with the certificate to trust."""
        self._folder = TemporaryDirectory(prefix="interalpha-smtp-")
        tls, ca_file = server_context(Path(self._folder.name))
        plain = await self._listen(tls, "SIMULATORS_SMTP_PORT", is_encrypted=False)
        encrypted = await self._listen(tls, "SIMULATORS_SMTPS_PORT", is_encrypted=True)
        return {"smtp": plain, "smtps": encrypted, "ca_file": str(ca_file)}

    async def stop(self) -> None:
        """Hang up on everybody and stop listening."""
        await super().stop()
        for server in self._servers:
            server.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        if self._folder is not None:
            self._folder.cleanup()

    def kept(self) -> Iterator[Mail]:
        """Every accepted mail."""
        return iter(self.records.mails.values())

    def forget(self) -> None:
        """Forget mails and the greylist."""
        self.records = State()

    def written_state(self) -> Json:
        """Mails and the greylist."""
        return dump_state(self.records)

    def read_state(self, records: Json) -> None:
        """Take them from somewhere else."""
        self.records = load_state(State, records)

    def report(self, message_id: str, order: Json) -> Json:
        """Refuse: a mail server has said all it will ever say."""
        raise ControlRefused(REPORTS_NOTHING)

    def check(self, order: FaultOrder) -> None:
        """Mail servers refuse with 4yz and 5yz."""
        if order.code is not None and not (order.code.isdecimal() and 400 <= int(order.code) <= 599):
            raise ControlRefused("an SMTP code lies between 400 and 599", field="code")
        if unused := {"status", "retry_after"} & order.model_fields_set:
            raise ControlRefused(f"SMTP knows no {sorted(unused)}", field=min(unused))

    def details(self) -> Json:
        """Whether one must sign in, and who with; and that nothing is heard of a mail afterwards."""
        return {"user": self.account.username, "plain_auth": self.account.is_plain, "reports": REPORTS_NOTHING}

    async def _listen(self, tls: SSLContext, variable: str, *, is_encrypted: bool) -> int:
        parts = Server(self.account, self.faults, tls, self.clock, lambda: self.records, self._note)

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._talk(Session(parts, reader, writer, is_encrypted))

        server = await asyncio.start_server(
            talk,
            "127.0.0.1",
            int(self.environment.get(variable) or 0),
            ssl=tls if is_encrypted else None,
            limit=BUFFER,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def _talk(self, session: Session) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a session runs in a task")
        self._sessions.add(task)
        try:
            await session.run()
        # Cancelled only by stop(); swallowed, because asyncio's server would report it as an unhandled error.
        except asyncio.CancelledError:
            session.writer.transport.abort()
        finally:
            self._sessions.discard(task)
            session.writer.close()

    def _note(
        self,
        command: str,
        reply: Reply | None,
        *,
        fault: str | None,
        prevented: bool,
        to: str | None,
        mail: Mail | None,
        body: str,
    ) -> None:
        self.journal.write(
            Entry(
                simulator=self.name,
                direction=Direction.RECEIVED,
                method="SMTP",
                path=command,
                body=body,
                verdict=_verdict(reply, mail, prevented=prevented),
                status=reply.code if reply else None,
                code=reply.lines[-1].partition(" ")[0] if reply and reply.is_refusal else None,
                fault=fault,
                to=to,
                message_id=mail.id if mail else None,
            )
        )


def _verdict(reply: Reply | None, mail: Mail | None, *, prevented: bool) -> Verdict:
    if prevented or reply is None:
        return Verdict.FAULTED
    if reply.is_refusal:
        return Verdict.REFUSED
    return Verdict.ACCEPTED if mail else Verdict.ANSWERED
