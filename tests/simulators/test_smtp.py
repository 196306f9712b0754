"""The simulated mail server, tested with the standard library's client and with raw bytes."""

import asyncio
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from typing import TypeVar

import pytest

from integrations.simulating.client import SimulatorRefused
from integrations.simulating.journal import Journal
from integrations.smtp.simulator import Simulator
from tests.servers import PASSWORD, USER, Simulators

Result = TypeVar("Result")
ANA = "ana@example.net"


def mail(to: str = ANA, **headers: str) -> EmailMessage:
    message = EmailMessage()
    for name, value in {"From": "no-reply@example.com", "To": to, "Subject": "Olá", **headers}.items():
        message[name] = value
    message.set_content("Até amanhã\n.\n.. pontos\n")
    message.add_alternative("<p>Até amanhã</p>", subtype="html")
    return message


@contextlib.contextmanager
def relay(simulators: Simulators, *, login: bool = True) -> Iterator[smtplib.SMTP]:
    """A connection over STARTTLS."""
    with smtplib.SMTP("127.0.0.1", simulators.announced["smtp"], timeout=3) as client:
        client.starttls(context=trust(simulators))
        if login:
            client.login(USER, PASSWORD)
        yield client


def trust(simulators: Simulators) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=simulators.announced["ca_file"])


async def send(simulators: Simulators, message: EmailMessage) -> dict[str, tuple[int, bytes]]:
    def blocking() -> dict[str, tuple[int, bytes]]:
        with relay(simulators) as client:
            return client.send_message(message)

    return await asyncio.to_thread(blocking)


async def fails(simulators: Simulators, message: EmailMessage, error: type[Exception]) -> Exception:
    with pytest.raises(error) as caught:
        await send(simulators, message)
    return caught.value


async def test_a_mail_goes_over_starttls(simulators: Simulators) -> None:
    headers = {"Message-ID": "<1@example.com>", "List-Unsubscribe": "<mailto:out@example.com>"}
    assert await send(simulators, mail(Date="Mon, 23 Nov 2026 14:00:00 +0000", **headers)) == {}
    kept = (await simulators.control.messages("smtp", to=ANA))[0]
    assert (kept["subject"], kept["message_id"], kept["list_unsubscribe"]) == ("Olá", *headers.values())
    assert (kept["text"], kept["html"]) == ("Até amanhã\n.\n.. pontos\n", "<p>Até amanhã</p>\n")
    assert (kept["encrypted"], kept["user"], kept["missing"]) == (True, USER, [])
    assert kept["envelope"] == {"from": "no-reply@example.com", "to": [ANA]}
    entry = (await simulators.control.journal(simulator="smtp", verdict="accepted"))[0]
    assert entry["message_id"] == kept["id"]


async def test_a_mail_goes_over_implicit_tls_and_missing_headers_are_named(simulators: Simulators) -> None:
    def blocking() -> None:
        port, context = simulators.announced["smtps"], trust(simulators)
        with smtplib.SMTP_SSL("127.0.0.1", port, timeout=3, context=context) as client:
            client.login(USER, PASSWORD)
            client.send_message(mail())

    await asyncio.to_thread(blocking)
    assert (await simulators.control.messages("smtp"))[0]["missing"] == ["Message-ID", "Date"]


async def test_an_unencrypted_port_accepts_a_password_only_if_configured() -> None:
    environment = {"SMTP_USERNAME": USER, "SMTP_PASSWORD": PASSWORD, "SMTP_TLS": "none"}
    simulator = Simulator(environment, Journal())
    port = (await simulator.start())["smtp"]

    def blocking() -> None:
        for mechanism in ("PLAIN", "LOGIN"):
            with smtplib.SMTP("127.0.0.1", port, timeout=3) as client:
                client.ehlo()
                client.user, client.password = USER, PASSWORD
                client.auth(mechanism, getattr(client, f"auth_{mechanism.lower()}"))
                client.send_message(mail())

    try:
        await asyncio.to_thread(blocking)
        assert [(m.is_encrypted, m.user) for m in simulator.kept()] == [(False, USER)] * 2
    finally:
        await simulator.stop()


async def test_who_has_not_signed_in_sends_nothing(simulators: Simulators) -> None:
    def blocking() -> tuple[int, int, bool]:
        with smtplib.SMTP("127.0.0.1", simulators.announced["smtp"], timeout=3) as client:
            client.ehlo()
            offered = client.has_extn("auth")
            early = client.docmd("AUTH", "PLAIN AHgAeA==")[0]
            return early, client.docmd("MAIL", "FROM:<a@example.com>")[0], offered

    assert await asyncio.to_thread(blocking) == (538, 530, False)


async def test_a_wrong_password_is_refused_and_not_written_down(simulators: Simulators) -> None:
    def blocking() -> None:
        with relay(simulators, login=False) as client:
            client.login(USER, "wrong-password")

    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        await asyncio.to_thread(blocking)
    assert caught.value.smtp_code == 535
    journal = str(await simulators.control.journal(simulator="smtp"))
    assert "AUTH PLAIN •••" in journal
    assert "d3Jvbmct" not in journal


@pytest.mark.parametrize(("name", "code"), [("nobody", 550), ("full", 452), ("busy", 451)])
async def test_a_fixed_recipient_is_refused(simulators: Simulators, name: str, code: int) -> None:
    address = f"{name}@example.net"
    error = await fails(simulators, mail(address), smtplib.SMTPRecipientsRefused)
    assert isinstance(error, smtplib.SMTPRecipientsRefused)
    assert error.recipients[address][0] == code
    assert await simulators.control.messages("smtp") == []


@pytest.mark.parametrize(("name", "code"), [("spam", 554), ("big", 552)])
async def test_a_fixed_recipient_has_the_whole_mail_refused(simulators: Simulators, name: str, code: int) -> None:
    error = await fails(simulators, mail(f"{name}@example.net"), smtplib.SMTPDataError)
    assert isinstance(error, smtplib.SMTPDataError)
    assert error.smtp_code == code


async def test_one_refused_recipient_does_not_keep_the_other_from_it(simulators: Simulators) -> None:
    refused = await send(simulators, mail(f"nobody@example.net, {ANA}"))
    assert list(refused) == ["nobody@example.net"]
    assert (await simulators.control.messages("smtp"))[0]["envelope"]["to"] == [ANA]


async def test_a_greylist_lets_the_second_try_pass(simulators: Simulators) -> None:
    await fails(simulators, mail("grey@example.net"), smtplib.SMTPRecipientsRefused)
    assert await send(simulators, mail("grey@example.net")) == {}


@pytest.mark.parametrize(
    ("at", "code", "error"),
    [
        ("connect", "421", smtplib.SMTPConnectError),
        ("auth", "535", smtplib.SMTPAuthenticationError),
        ("mail", "451", smtplib.SMTPSenderRefused),
        ("rcpt", "450", smtplib.SMTPRecipientsRefused),
        ("data", "554", smtplib.SMTPDataError),
        ("end-of-data", "552", smtplib.SMTPDataError),
    ],
)
async def test_a_code_can_be_armed_at_each_stage(
    simulators: Simulators, at: str, code: str, error: type[Exception]
) -> None:
    await simulators.control.arm("smtp", "code", code=code, at=at, always=True)
    caught = await fails(simulators, mail(), error)
    assert code in str(caught)
    assert await simulators.control.messages("smtp") == []
    await simulators.control.disarm("smtp")
    assert await send(simulators, mail()) == {}


@pytest.mark.parametrize("kind", ["reset", "timeout"])
@pytest.mark.parametrize("accepted", [False, True])
async def test_a_connection_lost_at_the_final_dot_gets_no_reply(
    simulators: Simulators, kind: str, accepted: bool
) -> None:
    await simulators.control.arm("smtp", kind, next=1, accepted=accepted)

    def blocking() -> None:
        with relay(simulators) as client:
            client.sock.settimeout(0.3)
            client.send_message(mail())

    with pytest.raises((smtplib.SMTPServerDisconnected, OSError)):
        await asyncio.to_thread(blocking)
    assert len(await simulators.control.messages("smtp")) == accepted


async def test_a_fault_of_http_is_none_of_smtp(simulators: Simulators) -> None:
    for order in ({"kind": "garbage"}, {"kind": "code", "code": "250"}, {"kind": "code", "code": "451", "status": 500}):
        with pytest.raises(SimulatorRefused):
            await simulators.control.arm("smtp", next=1, **order)  # type: ignore[arg-type]
    with pytest.raises(SimulatorRefused):
        await simulators.control.plan_webhooks("smtp", copies=2)


async def raw(simulators: Simulators, talk: Callable[[smtplib.SMTP], Result]) -> Result:
    """Talk to the server below the level of mails."""

    def blocking() -> Result:
        with relay(simulators) as client:
            return talk(client)

    return await asyncio.to_thread(blocking)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"Subject: a\r\n\r\nfirst\n.\nMAIL FROM:<evil@example.com>\r\n.\r\n", 550),
        (b"Subject: a\r\n\r\nfirst\n.\r\nsmuggled\r\n.\r\n", 550),
        (b"Subject: a\r\n\r\nfirst\r.\r\nsmuggled\r\n.\r\n", 550),
        (b"Subject: a\r\n\r\n" + b"x" * 999 + b"\r\n.\r\n", 500),
        (b"Subject: a\r\n\r\n" + b"x" * 998 + b"\r\n..dot\r\n.\r\n", 250),
    ],
)
async def test_nothing_is_smuggled_into_a_mail(simulators: Simulators, body: bytes, code: int) -> None:
    def talk(client: smtplib.SMTP) -> tuple[int, int]:
        client.ehlo()
        client.mail("a@example.com")
        client.rcpt(ANA)
        client.docmd("DATA")
        client.send(body)
        return client.getreply()[0], client.noop()[0]

    assert await raw(simulators, talk) == (code, 250)
    assert len(await simulators.control.messages("smtp")) == (code == 250)
    if code == 250:
        assert "\r\n.dot\r\n" in (await simulators.control.messages("smtp"))[0]["raw"]


async def test_a_mail_beyond_the_size_is_refused_before_and_after_it_was_sent(simulators: Simulators) -> None:
    def talk(client: smtplib.SMTP) -> tuple[int, int]:
        client.ehlo()
        announced = client.docmd("MAIL", "FROM:<a@example.com> SIZE=10240001")[0]
        client.mail("a@example.com")
        client.rcpt(ANA)
        client.docmd("DATA")
        client.send((b"x" * 998 + b"\r\n") * 10_241 + b".\r\n")
        return announced, client.getreply()[0]

    assert await raw(simulators, talk) == (552, 552)


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        (["RCPT TO:<a@example.com>"], 503),
        (["DATA"], 503),
        (["MAIL FROM:<a@example.com>", "MAIL FROM:<a@example.com>"], 503),
        (["MAIL FROM:<a@example.com>", "DATA"], 554),
        (["MAIL FROM:<a@example.com>", "RSET", "RCPT TO:<a@example.com>"], 503),
        (["MAIL FROM: <a@example.com>"], 501),
        (["MAIL FROM:a@example.com"], 501),
        (["MAIL FROM:<a@example.com> COLOUR=RED"], 555),
        (["MAIL FROM:<a@example.com>", "RCPT TO:<no-at-sign>"], 501),
        (["EHLO"], 501),
        (["VRFY ana"], 252),
        (["STARTTLS"], 503),
        (["AUTH PLAIN AHgAeA=="], 503),
        (["HOCUS POCUS"], 500),
        (["NOOP " + "x" * 3000], 500),
        (["NOOP"], 250),
    ],
)
async def test_the_order_and_the_grammar_of_commands_are_kept(
    simulators: Simulators, commands: list[str], code: int
) -> None:
    def talk(client: smtplib.SMTP) -> int:
        client.ehlo()
        return [client.docmd(command)[0] for command in commands][-1]

    assert await raw(simulators, talk) == code


async def test_an_address_beyond_ascii_needs_smtputf8(simulators: Simulators) -> None:
    def talk(client: smtplib.SMTP) -> list[int]:
        client.ehlo()
        client.command_encoding = "utf-8"
        without = [client.docmd("MAIL FROM:<a@example.com>")[0], client.docmd("RCPT TO:<joão@example.com>")[0]]
        client.docmd("RSET")
        return [*without, client.docmd("MAIL FROM:<joão@example.com> SMTPUTF8")[0]]

    assert await raw(simulators, talk) == [250, 553, 250]


async def test_commands_may_be_pipelined_but_not_across_starttls(simulators: Simulators) -> None:
    def blocking() -> bytes:
        with socket.create_connection(("127.0.0.1", simulators.announced["smtp"]), timeout=3) as line:
            line.sendall(b"EHLO x\r\nNOOP\r\nSTARTTLS\r\nMAIL FROM:<evil@example.com>\r\n")
            received = b""
            while chunk := line.recv(4096):
                received += chunk
            return received

    lines = (await asyncio.to_thread(blocking)).splitlines()
    assert lines[-2:] == [b"250 2.0.0 Ok", b"501 5.5.4 Nothing may follow"]


async def test_an_envelope_may_come_in_one_go_and_a_text_may_not_come_with_it(simulators: Simulators) -> None:
    envelope = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<ana@example.net>\r\nDATA\r\n"

    def talk(client: smtplib.SMTP) -> tuple[list[int], list[int], bytes]:
        client.ehlo()
        client.send(envelope)
        replies = [client.getreply()[0] for _ in range(3)]
        client.send(b"Subject: a\r\n\r\n.\r\n")
        taken = client.getreply()[0]
        client.send(envelope + b"Subject: b\r\n\r\n.\r\n")
        return [*replies, taken], [client.getreply()[0] for _ in range(3)], client.sock.recv(1)

    assert await raw(simulators, talk) == ([250, 250, 354, 250], [250, 250, 503], b"")
    assert len(await simulators.control.messages("smtp")) == 1


async def test_a_greylist_forgets_a_sender_who_was_silent_for_long(simulators: Simulators) -> None:
    await fails(simulators, mail("grey@example.net"), smtplib.SMTPRecipientsRefused)
    await simulators.control.advance("smtp", 34 * 86_400)
    assert await send(simulators, mail("grey@example.net")) == {}
    await simulators.control.advance("smtp", 36 * 86_400)
    await fails(simulators, mail("grey@example.net"), smtplib.SMTPRecipientsRefused)


async def test_what_a_page_posts_to_the_port_of_mail_is_no_mail(simulators: Simulators) -> None:
    """A browser sends any page's form to any port: its body must not be taken for commands."""
    body = (
        b"EHLO page\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<ana@example.net>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"
    )
    for start in (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /?x HTTP/1.1\r\n", b"BREW / HTTP/1.1\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", simulators.announced["smtp"])
        writer.write(start + body)
        said = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert [line[:4] for line in said.splitlines()] == [b"220 ", b"221 "], said
    assert (await simulators.control.state("smtp"))["messages"] == 0
