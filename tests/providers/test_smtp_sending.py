"""Sending an e-mail to a relay: at every stage, whether a failure means sent, not sent or unknown."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

import core.errors
import integrations.smtp
from core.errors import (
    FailureParty,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.messages.claim import Timing
from core.ports import IntegrationContext, OutboundMessage, Receipt
from integrations.smtp import connect
from integrations.smtp.adapter import ENVELOPE_TIMEOUT, TEXT_TIMEOUT, SmtpSender
from integrations.smtp.connections import ConnectionPool
from integrations.smtp.simulator.state import server_context
from tests.providers.factories import ANA_AT_HOME, email, smtp_settings
from tests.providers.servers import HANG_UP, PIPELINING, RESET, SILENCE, ScriptedRelay, scripted_server, smtp_relay
from tests.servers import PASSWORD, Simulators

REPLIES = [
    [part.strip() for part in line.split("|")]
    for line in (Path(integrations.smtp.__file__).parent / "fixtures" / "replies.txt").read_text().splitlines()
    if not line.startswith("#")
]
OFFERS: list[dict[str, str]] = [{}, {"ehlo": PIPELINING}]
BEFORE_THE_TEXT = ["connect", "ehlo", "auth", "mail", "rcpt", "data"]


async def send(
    relay: ScriptedRelay, message: OutboundMessage | None = None, patience: float = 3, **settings: str
) -> Receipt:
    """Send over a fresh connection; patience is for each of the two phases."""
    found = smtp_settings(relay.port, **{"SMTP_TLS": "none", **settings})
    connections = ConnectionPool(found)
    try:
        return await SmtpSender(found, connections, preparing=patience, confirming=patience).send(message or email())
    finally:
        await connections.close()


async def failure(sending: Awaitable[Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await sending
    assert caught.value.provider == "smtp"
    return caught.value


async def test_a_mail_is_said_step_by_step() -> None:
    async with smtp_relay() as relay:
        receipt = await send(relay)
        assert receipt == Receipt("4bX9qZ1", "2.0.0 Ok: queued as 4bX9qZ1", answer="250 2.0.0 Ok: queued as …")
        verbs = [command.partition(" ")[0] for command in relay.commands]
        assert verbs[:5] == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA"]
        assert relay.commands[0] == "EHLO example.com"
        assert relay.commands[2:4] == ["MAIL FROM:<no-reply@example.com>", f"RCPT TO:<{ANA_AT_HOME}>"]


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("250 2.0.0 OK  1732370000 d9443c01a7336-2126", "2.0.0 OK  1732370000 d9443c01a7336-2126"),
        ("250-first\r\n250 queued as 7", "7"),
        ("250", None),
        ("251 2.0.0 forwarded", "2.0.0 forwarded"),
        (f"250 Ok, {ANA_AT_HOME} has it", None),
        ("250 Ok \udcff\udcfe", None),
    ],
)
async def test_an_id_is_taken_from_the_reply_if_it_contains_nothing_personal(reply: str, name: str | None) -> None:
    async with smtp_relay(end_of_data=reply) as relay:
        assert (await send(relay)).provider_message_id == name


async def test_every_reply_means_what_the_list_says(subtests: pytest.Subtests) -> None:
    for offer in OFFERS:
        for stage, reply, error, reason in REPLIES:
            with subtests.test(f"{stage}: {reply}, {offer}"):
                async with smtp_relay(**{**offer, stage: reply}) as relay:
                    found = await failure(send(relay))
                    assert (type(found), found.reason) == (getattr(core.errors, error), reason)
                    assert (found.provider_code or "").split()[0] == reply[:3]
                    assert ANA_AT_HOME not in found.message
                    assert len(relay.mails) == (stage == "end-of-data")


BROKEN_REPLIES = [HANG_UP, RESET, SILENCE, "what is this", "250-never\r\n250-ending"]


async def test_a_failure_before_the_text_means_nothing_was_accepted(subtests: pytest.Subtests) -> None:
    for offer in OFFERS:
        for stage in BEFORE_THE_TEXT:
            for end in BROKEN_REPLIES:
                with subtests.test(f"{stage}: {end!r}, {offer}"):
                    async with smtp_relay(**{**offer, stage: end}) as relay:
                        assert isinstance(await failure(send(relay, patience=0.2)), ProviderUnavailable)
                        assert relay.mails == []


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("end", [HANG_UP, RESET, SILENCE, "what is this", "354 more", "250-never\r\n250-ending", "2"])
async def test_a_failure_after_the_final_dot_is_an_unknown_outcome(end: str, offer: dict[str, str]) -> None:
    async with smtp_relay(end_of_data=end, **offer) as relay:
        assert isinstance(await failure(send(relay, patience=0.2)), OutcomeUnknown)
        assert len(relay.mails) == 1


async def test_a_text_that_gets_stuck_took_nothing() -> None:
    async with smtp_relay() as relay:
        relay.is_deaf = True
        big = email(plain_text="uma linha de um texto muito grande\n" * 400_000)
        assert isinstance(await failure(send(relay, big, patience=0.3)), ProviderUnavailable)
        assert relay.mails == []


async def test_an_encrypted_text_that_gets_stuck_took_nothing_either(tmp_path: Path) -> None:
    context, ca_file = server_context(tmp_path)
    relay = ScriptedRelay(is_deaf=True)
    async with scripted_server(relay.talk, context) as relay.wire:
        big = email(plain_text="uma linha de um texto muito grande\n" * 400_000)
        error = await failure(send(relay, big, patience=0.5, SMTP_TLS="implicit", SMTP_CA_FILE=str(ca_file)))
        assert isinstance(error, ProviderUnavailable)


async def test_a_long_encrypted_text_arrives_whole(tmp_path: Path) -> None:
    context, ca_file = server_context(tmp_path)
    relay = ScriptedRelay()
    async with scripted_server(relay.talk, context, limit=1 << 24) as relay.wire:
        await send(relay, email(plain_text=".ponto\n" * 400_000), SMTP_TLS="implicit", SMTP_CA_FILE=str(ca_file))
        assert relay.mails[0].count(b"\r\n..ponto") == 400_000


async def test_a_relay_out_of_reach_is_unavailable() -> None:
    async with smtp_relay() as gone:
        pass
    assert isinstance(await failure(send(gone)), ProviderUnavailable)


def test_both_phases_fit_into_what_core_waits() -> None:
    assert Timing().send_deadline.total_seconds() > ENVELOPE_TIMEOUT + TEXT_TIMEOUT


async def test_nothing_is_sent_in_the_clear_where_starttls_was_stripped() -> None:
    async with smtp_relay() as relay:
        error = await failure(send(relay, SMTP_TLS="starttls"))
        assert isinstance(error, ProviderMisconfigured)
        assert "STARTTLS" in error.message
        assert {command.partition(" ")[0] for command in relay.commands} == {"EHLO"}


async def test_a_password_is_not_offered_to_a_relay_that_asks_for_none() -> None:
    async with smtp_relay(ehlo="250 relay.example") as relay:
        assert isinstance(await failure(send(relay)), ProviderMisconfigured)
        assert relay.commands == ["EHLO example.com"]


async def test_later_to_the_greeting_is_no_reason_to_speak_an_older_language() -> None:
    """HELO offers no way to sign in, and the operator would be advised to change correct settings."""
    for reply in ("450 4.3.2 Try again later", "451-4.7.1 Greylisted\r\n451 4.7.1 later", "421 4.7.0 Too many"):
        async with smtp_relay(ehlo=reply) as relay:
            error = await failure(send(relay))
            assert (type(error), error.provider_code) == (ProviderUnavailable, reply[:3] + reply[3:9].replace("-", " "))
            assert relay.commands == ["EHLO example.com"]


async def test_a_relay_without_a_user_is_not_signed_in_to() -> None:
    async with smtp_relay() as relay:
        await send(relay, SMTP_USERNAME="", SMTP_PASSWORD="")
        assert "AUTH" not in str(relay.commands)


async def test_a_name_outside_ascii_goes_with_smtputf8_or_not_at_all() -> None:
    async with smtp_relay() as relay:
        await send(relay, email("joão@example.net"))
        assert relay.commands[2:4] == ["MAIL FROM:<no-reply@example.com> SMTPUTF8", "RCPT TO:<joão@example.net>"]
        assert "To: joão@example.net".encode() in relay.mails[0]
    async with smtp_relay(ehlo="250-relay.example\r\n250 AUTH PLAIN") as relay:
        assert isinstance(await failure(send(relay, email("joão@example.net"))), ProviderRejected)
        assert relay.mails == []


async def test_a_sender_outside_ascii_is_an_operator_error_and_not_a_recipient_error() -> None:
    async with smtp_relay(ehlo="250-relay.example\r\n250 AUTH PLAIN") as relay:
        error = await failure(send(relay, SMTP_FROM="Clínica <joão@example.com>"))
        assert isinstance(error, ProviderMisconfigured)
        assert (error.party, relay.mails) == (FailureParty.OPERATOR, [])


async def test_a_dot_at_the_start_of_a_line_is_doubled_on_the_way() -> None:
    async with smtp_relay() as relay:
        await send(relay, email(plain_text=".\n..\n.ponto\n"))
        assert b"\r\n..\r\n...\r\n..ponto\r\n" in relay.mails[0]


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
async def test_a_host_that_cannot_be_is_misconfigured(host: str) -> None:
    async with smtp_relay() as relay:
        assert isinstance(await failure(send(relay, SMTP_HOST=host, SMTP_TLS="starttls")), ProviderMisconfigured)


async def test_no_error_and_no_connected_integration_contains_the_password() -> None:
    async with smtp_relay(auth=f"535 5.7.8 {PASSWORD} is wrong") as relay:
        error = await failure(send(relay))
        settings = smtp_settings(relay.port, SMTP_TLS="none")
        connected = connect(settings, IntegrationContext("https://api.example.com/webhooks/smtp"))
        told = f"{error!r} {error} {vars(error)} {settings!r} {settings.model_dump_json()} {connected!r}"
        assert PASSWORD not in told
        await connected.close()


async def test_the_simulator_takes_what_we_say(simulators: Simulators) -> None:
    settings = smtp_settings(simulators.announced["smtp"], SMTP_CA_FILE=simulators.announced["ca_file"])
    connections = ConnectionPool(settings)
    text = "Até amanhã.\n.\n..pontos\n" + "longa " * 300
    receipt = await SmtpSender(settings, connections).send(email(plain_text=text, html=f"<p>{text}</p>"))
    await connections.close()
    kept = (await simulators.control.messages("smtp"))[0]
    assert (kept["id"], kept["subject"], kept["missing"]) == (receipt.provider_message_id, "Sua consulta é amanhã", [])
    assert (kept["text"].rstrip("\n"), kept["html"].rstrip("\n")) == (text, f"<p>{text}</p>")
