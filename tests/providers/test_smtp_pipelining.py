"""Pipelining: what leaves in one write, and the state of a mail when the connection fails meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from core.errors import ProviderMisconfigured, ProviderRejected, ProviderUnavailable
from core.ports import OutboundMessage, Receipt
from integrations.smtp import transaction
from integrations.smtp.adapter import SmtpSender
from integrations.smtp.connections import Connection, ConnectionPool
from tests.helpers import until
from tests.providers.factories import email, smtp_settings
from tests.providers.servers import PIPELINING, ScriptedRelay, scripted_server
from tests.providers.servers import Connection as Wire

Sending = Callable[[OutboundMessage], Awaitable[Receipt]]
TOGETHER = [b"MAIL FROM:<no-reply@example.com>", b"RCPT TO:<ana@example.net>", b"DATA"]
FINE = {"MAIL": "250 Ok", "RCPT": "250 Ok", "DATA": "354 Go on", "RSET": "250 Ok"}


class Packets(ScriptedRelay):
    """A relay that answers by what came together: `answer` gets the commands of one write."""

    def __init__(self, answer: Callable[[list[str]], str | None]) -> None:
        super().__init__()
        self.answer = answer
        self.groups: list[list[bytes]] = []
        self.goodbyes = 0

    async def talk(self, line: Wire) -> None:
        await line.say(b"220 relay.example ESMTP\r\n")
        while group := await line.reader.read(65_536):
            commands = group.split(b"\r\n")[:-1]
            if group.endswith(b"\r\n.\r\n"):
                self.mails.append(group)
                await line.say(b"250 2.0.0 Ok: queued as 1\r\n")
                continue
            if commands[0] == b"QUIT":
                self.goodbyes += 1
                return
            if commands[0].startswith((b"EHLO", b"AUTH")):
                await line.say(f"{PIPELINING}\r\n".encode() if commands[0].startswith(b"EHLO") else b"235 Welcome\r\n")
                continue
            self.groups.append(commands)
            said = self.answer([command.decode()[:4] for command in commands])
            if said is None:
                return
            await line.say(said.encode())


def obedient(commands: list[str]) -> str:
    return "".join(f"{FINE[command]}\r\n" for command in commands)


@asynccontextmanager
async def sending(
    answer: Callable[[list[str]], str | None], patience: float = 3
) -> AsyncIterator[tuple[Packets, Sending]]:
    relay = Packets(answer)
    async with scripted_server(relay.talk) as relay.wire:
        settings = smtp_settings(relay.port, SMTP_TLS="none")
        connections = ConnectionPool(settings)
        yield relay, SmtpSender(settings, connections, preparing=patience, confirming=patience).send
        await connections.close()


async def test_a_mail_is_said_in_two_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    usual = Connection.write
    monkeypatch.setattr(Connection, "write", lambda self, data: (written.append(data), usual(self, data))[1])
    async with sending(obedient) as (relay, send):
        await send(email())
        await send(email())
        assert relay.groups == [TOGETHER, [b"RSET", *TOGETHER]]
        assert len(written) == 4
        assert len(relay.mails) == 2


async def test_a_text_of_any_size_waits_for_the_word_to_go_on() -> None:
    async with sending(lambda commands: obedient(commands).replace("354 Go on", "451 Not now")) as (relay, send):
        for text in ("curto", "longo " * 10_000):
            with pytest.raises(ProviderUnavailable, match="later"):
                await send(email(plain_text=text))
        assert relay.mails == []


async def test_a_dot_may_wait_behind_a_text_and_a_long_text_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction, "SINGLE_WRITE_LIMIT", 100)
    async with sending(obedient) as (relay, send):
        await send(email(plain_text=".ponto\n" * 30))
        assert relay.mails[0].count(b"\r\n..ponto") == 30


@pytest.mark.parametrize(
    "said",
    [
        # Refused, and asked to continue all the same.
        "250 Ok\r\n550 5.1.1 Nobody\r\n354 Go on\r\n",
        "250 Ok\r\n550 5.1.1 Nobody\r\n554 5.5.1 No valid recipients\r\n",
    ],
)
async def test_a_refused_recipient_gets_nothing_and_the_next_mail_goes(said: str) -> None:
    said_so_far: list[str] = []

    def answer(commands: list[str]) -> str:
        said_so_far.append(said if not said_so_far else obedient(commands))
        return said_so_far[-1]

    async with sending(answer) as (relay, send):
        with pytest.raises(ProviderRejected) as caught:
            await send(email())
        assert caught.value.provider_code == "550 5.1.1"
        await send(email())
        assert len(relay.mails) == 1
        # Over the same connection, and from the beginning; unless the relay still waits for a text there.
        is_same = "354" not in said
        assert relay.groups[1] == ([b"RSET", *TOGETHER] if is_same else TOGETHER)
        assert relay.wire.connections == (1 if is_same else 2)


async def test_a_refused_sender_is_reported_as_such() -> None:
    said = "550 5.7.1 Not you\r\n503 5.5.1 MAIL first\r\n503 5.5.1 RCPT first\r\n"
    async with sending(lambda _: said) as (relay, send):
        with pytest.raises(ProviderMisconfigured, match="SMTP_FROM"):
            await send(email())
        assert (relay.mails, relay.wire.connections) == ([], 1)


@pytest.mark.parametrize(
    "confused",
    [
        None,
        "554 5.5.0 Too many at once\r\n",
        "250 Ok\r\n354 Go on\r\n250 Ok\r\n",
        "354 Go on\r\n",
        "250 Ok\r\nwhat is this\r\n",
    ],
)
async def test_a_relay_that_gets_lost_among_commands_is_given_one_at_a_time(confused: str | None) -> None:
    async with sending(lambda commands: obedient(commands) if len(commands) == 1 else confused) as (relay, send):
        await send(email())
        await send(email())
        assert relay.groups[1:] == [[one] for one in [*TOGETHER, b"RSET", *TOGETHER]]
        assert (len(relay.mails), relay.wire.connections) == (2, 2)


@pytest.mark.parametrize("first", ["250 Ok\r\n", ""])
async def test_a_relay_that_forgets_what_came_together_takes_the_mail_at_the_next_try(first: str) -> None:
    async with sending(lambda commands: obedient(commands) if len(commands) == 1 else first, 0.2) as (relay, send):
        with pytest.raises(ProviderUnavailable):
            await send(email())
        assert relay.mails == []
        await send(email())
        assert len(relay.mails) == 1


async def test_a_relay_is_trusted_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.smtp.connections._PIPELINING_PAUSE", 0.0)
    answers: list[int] = []

    def answer(commands: list[str]) -> str | None:
        answers.append(len(commands))
        return None if len(answers) == 1 else obedient(commands)

    async with sending(answer) as (_, send):
        await send(email())
        assert answers == [3, 3]


async def test_a_reply_too_many_is_never_taken_for_the_word_on_the_text() -> None:
    async with sending(lambda commands: obedient(commands) + "250 2.0.0 Ok: queued as 0\r\n") as (relay, send):
        with pytest.raises(ProviderUnavailable):
            await send(email())
        assert relay.mails == []


async def test_an_unsolicited_reply_closes_a_kept_connection() -> None:
    lines: list[Wire] = []

    class Chatty(Packets):
        async def talk(self, line: Wire) -> None:
            lines.append(line)
            await super().talk(line)

    relay = Chatty(obedient)
    async with scripted_server(relay.talk) as relay.wire:
        settings = smtp_settings(relay.port, SMTP_TLS="none")
        connections = ConnectionPool(settings)
        send = SmtpSender(settings, connections).send
        await send(email())
        await lines[0].say(b"250 2.0.0 Ok: queued as 0\r\n")
        await asyncio.sleep(0)
        receipt = await send(email())
        assert receipt.provider_message_id == "1"
        assert len(relay.mails) == 2
        await connections.close()


async def test_a_connection_ends_with_a_goodbye_when_it_has_served_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.smtp.connections._MAX_USES", 2)
    async with sending(obedient) as (relay, send):
        for _ in range(3):
            await send(email())
        await until(lambda: asyncio.sleep(0, relay.goodbyes), bool)
        assert (len(relay.mails), relay.wire.connections) == (3, 2)


async def test_no_command_can_hold_another() -> None:
    async with sending(obedient) as (relay, _):
        connections = ConnectionPool(smtp_settings(relay.port, SMTP_TLS="none"))

        async def spiteful(line: Connection) -> None:
            line.say(b"NOOP\r\nQUIT")

        with pytest.raises(ValueError, match="control"):
            await connections.use(spiteful)
        assert relay.groups == []
