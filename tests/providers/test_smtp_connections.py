"""Kept connections to the relay: encrypted, authenticated, reused, replaced when they are gone, few in number."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from core.errors import (
    FailureParty,
    FailureScope,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import Finding, IntegrationContext, OutboundMessage, Receipt, Reference
from integrations.smtp import connect
from integrations.smtp.adapter import SmtpSender
from integrations.smtp.connections import ConnectionPool
from integrations.smtp.probe import SmtpProbe
from tests.providers.factories import email, smtp_settings
from tests.providers.servers import PIPELINING, SILENCE, smtp_relay
from tests.servers import Simulators

Sending = Callable[[OutboundMessage], Awaitable[Receipt]]


@asynccontextmanager
async def sender(port: int, /, confirming: float = 3, **settings: str) -> AsyncIterator[Sending]:
    """Something to send with, over connections of its own."""
    found = smtp_settings(port, **settings)
    connections = ConnectionPool(found)
    yield SmtpSender(found, connections, preparing=5, confirming=confirming).send
    await connections.close()


def trusting(simulators: Simulators, **settings: str) -> dict[str, str]:
    return {"SMTP_CA_FILE": simulators.announced["ca_file"], **settings}


async def connections_to(simulators: Simulators) -> int:
    """How many connections the simulated relay has had."""
    return [entry["path"] for entry in await simulators.control.journal(simulator="smtp")].count("")


@pytest.mark.parametrize(("port", "tls"), [("smtp", "starttls"), ("smtps", "implicit")])
async def test_a_mail_goes_encrypted(simulators: Simulators, port: str, tls: str) -> None:
    async with sender(simulators.announced[port], **trusting(simulators, SMTP_TLS=tls)) as send:
        await send(email())
    kept = (await simulators.control.messages("smtp"))[0]
    assert (kept["encrypted"], kept["user"]) == (True, "relay-user")


@pytest.mark.parametrize(("port", "tls"), [("smtp", "starttls"), ("smtps", "implicit")])
async def test_a_certificate_we_do_not_trust_is_misconfigured(simulators: Simulators, port: str, tls: str) -> None:
    async with sender(simulators.announced[port], SMTP_TLS=tls) as send:
        with pytest.raises(ProviderMisconfigured, match="SMTP_CA_FILE"):
            await send(email())
    assert "AUTH" not in str(await simulators.control.journal(simulator="smtp"))


async def test_a_certificate_of_another_host_is_misconfigured(
    simulators: Simulators, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo
    monkeypatch.setattr(loop, "getaddrinfo", lambda host, port, **how: resolve("127.0.0.1", port, **how))
    settings = trusting(simulators, SMTP_HOST="mail.example.com")
    async with sender(simulators.announced["smtp"], **settings) as send:
        with pytest.raises(ProviderMisconfigured, match="certificate"):
            await send(email())


async def test_implicit_tls_to_a_port_that_speaks_first_is_misconfigured(simulators: Simulators) -> None:
    async with sender(simulators.announced["smtp"], **trusting(simulators, SMTP_TLS="implicit")) as send:
        with pytest.raises(ProviderMisconfigured, match="SMTP_TLS"):
            await send(email())


async def test_a_ca_file_without_certificates_is_misconfigured(simulators: Simulators, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing of the kind")
    async with sender(simulators.announced["smtp"], SMTP_CA_FILE=str(tmp_path / "ca.pem")) as send:
        with pytest.raises(ProviderMisconfigured, match="SMTP_CA_FILE"):
            await send(email())


async def test_a_wrong_password_is_misconfigured(simulators: Simulators) -> None:
    async with sender(simulators.announced["smtp"], **trusting(simulators, SMTP_PASSWORD="wrong")) as send:
        with pytest.raises(ProviderMisconfigured, match="SMTP_PASSWORD"):
            await send(email())


async def test_a_connection_is_used_again(simulators: Simulators) -> None:
    async with sender(simulators.announced["smtp"], **trusting(simulators)) as send:
        for _ in range(5):
            await send(email())
    assert await connections_to(simulators) == 1
    assert len(await simulators.control.messages("smtp")) == 5


async def test_a_refused_recipient_costs_no_connection(simulators: Simulators) -> None:
    async with sender(simulators.announced["smtp"], **trusting(simulators)) as send:
        for to in ("nobody@example.net", "spam@example.net"):
            with pytest.raises(ProviderRejected):
                await send(email(to))
        await send(email())
    assert await connections_to(simulators) == 1


@pytest.mark.parametrize("offer", [{}, {"ehlo": PIPELINING}])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_data"])
async def test_a_refusal_of_any_kind_costs_no_connection(stage: str, offer: dict[str, str]) -> None:
    for reply in ("450 4.2.0 Not now", "451 4.3.0 Local error", "452 4.2.2 Mailbox full", "550 5.1.1 Nobody", "554 No"):
        async with smtp_relay(**offer, **{stage: reply}) as relay, sender(relay.port, SMTP_TLS="none") as send:
            if offer and stage in ("mail", "rcpt"):
                relay.replies["data"] = "503 5.5.1 Not yet"
            for _ in range(3):
                with pytest.raises(ProviderError) as caught:
                    await send(email())
                assert (caught.value.provider_code or "").startswith(reply[:3])
            relay.replies = dict(offer)
            await send(email())
            assert (relay.wire.connections, relay.commands.count("RSET")) == (1, 3), (stage, reply)
            assert len(relay.mails) == 1 + 3 * (stage == "end_of_data")


@pytest.mark.parametrize("offer", [{}, {"ehlo": PIPELINING}])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end_of_data"])
async def test_a_relay_that_says_it_is_closing_is_left(stage: str, offer: dict[str, str]) -> None:
    async with (
        smtp_relay(**offer, **{stage: "421 4.3.2 Closing"}) as relay,
        sender(relay.port, SMTP_TLS="none") as send,
    ):
        with pytest.raises(ProviderUnavailable) as caught:
            await send(email())
        assert caught.value.provider_code == "421 4.3.2"
        relay.replies = dict(offer)
        await send(email())
        assert relay.wire.connections == 2


async def test_a_connection_is_left_before_a_relay_that_counts_refusals_slows_us_down() -> None:
    async with smtp_relay(rcpt="450 4.2.0 Not now") as relay, sender(relay.port, SMTP_TLS="none") as send:
        for number in range(25):
            if number == 14:
                # An accepted mail restarts the count.
                relay.replies.clear()
                await send(email())
                relay.replies["rcpt"] = "450 4.2.0 Not now"
            with pytest.raises(ProviderUnavailable):
                await send(email())
        assert relay.wire.connections == 3


async def test_what_runs_out_of_time_says_how_far_it_came() -> None:
    for stage, scope in (
        ("connect", FailureScope.PROVIDER),
        ("auth", FailureScope.PROVIDER),
        ("rcpt", FailureScope.UNCLEAR),
    ):
        async with smtp_relay(**{stage: SILENCE}) as relay:
            connections = ConnectionPool(smtp_settings(relay.port, SMTP_TLS="none", SMTP_CONNECTIONS="1"))
            slow = SmtpSender(smtp_settings(relay.port, SMTP_TLS="none"), connections, preparing=0.3)
            first = asyncio.create_task(slow.send(email()))
            await asyncio.sleep(0.1)
            # The relay is not at fault where every connection is in use.
            waiting = SmtpSender(smtp_settings(relay.port, SMTP_TLS="none"), connections, preparing=0.1)
            ends = await asyncio.gather(first, waiting.send(email()), return_exceptions=True)
            await connections.close()
            assert [end.scope for end in ends if isinstance(end, ProviderUnavailable)] == [scope, FailureScope.OURS]


async def test_a_recipient_answered_with_252_is_taken() -> None:
    for offer in ({}, {"ehlo": PIPELINING}):
        for reply in ("251 2.1.5 Will forward", "252 2.1.5 Cannot verify, will try"):
            async with smtp_relay(rcpt=reply, **offer) as relay, sender(relay.port, SMTP_TLS="none") as send:
                assert (await send(email())).provider_message_id == "4bX9qZ1"
                assert len(relay.mails) == 1


async def test_a_server_without_encryption_for_login_is_reported() -> None:
    for extensions in ("250 relay.example", "250-relay.example\r\n250-STARTTLS\r\n250 PIPELINING"):
        async with smtp_relay(ehlo=extensions) as relay, sender(relay.port, SMTP_TLS="none") as send:
            with pytest.raises(ProviderMisconfigured) as caught:
                await send(email())
            assert "no way to sign in" in caught.value.message
            assert "SMTP_TLS" in caught.value.message
            assert "offers no STARTTLS" not in caught.value.message
            assert (caught.value.party, caught.value.scope) == (FailureParty.OPERATOR, FailureScope.PROVIDER)


async def test_a_kept_connection_that_was_closed_loses_nothing_and_doubles_nothing() -> None:
    async with smtp_relay(rset="421 4.4.2 Idle too long") as relay, sender(relay.port, SMTP_TLS="none") as send:
        for _ in range(3):
            await send(email())
        assert (len(relay.mails), relay.wire.connections) == (3, 3)


async def test_a_kept_connection_that_is_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.smtp.transaction.CHECK_TIMEOUT", 0.1)
    async with smtp_relay(rset=SILENCE) as relay, sender(relay.port, SMTP_TLS="none") as send:
        for _ in range(2):
            await send(email())
        assert (len(relay.mails), relay.wire.connections) == (2, 2)


async def test_a_connection_is_replaced_after_an_unknown_outcome(simulators: Simulators) -> None:
    async with sender(simulators.announced["smtp"], **trusting(simulators)) as send:
        await send(email())
        await simulators.control.arm("smtp", "reset", next=1, accepted=True)
        with pytest.raises(OutcomeUnknown):
            await send(email())
        await send(email())
    assert len(await simulators.control.messages("smtp")) == 3
    assert await connections_to(simulators) == 2


async def test_a_relay_that_keeps_still_after_the_dot_is_not_waited_for(simulators: Simulators) -> None:
    async with sender(simulators.announced["smtp"], 0.3, **trusting(simulators)) as send:
        await simulators.control.arm("smtp", "timeout", next=1, accepted=True)
        async with asyncio.timeout(2):
            with pytest.raises(OutcomeUnknown):
                await send(email())


async def test_fifty_at_once_share_ten_connections(simulators: Simulators) -> None:
    references = [Reference(UUID(int=1), UUID(int=number), 1) for number in range(50)]
    async with sender(simulators.announced["smtp"], **trusting(simulators)) as send:
        receipts = await asyncio.gather(*(send(email(reference=reference)) for reference in references))
    kept = await simulators.control.messages("smtp")
    assert {receipt.provider_message_id for receipt in receipts} == {mail["id"] for mail in kept}
    assert len({mail["message_id"] for mail in kept}) == 50
    assert await connections_to(simulators) <= 10


async def test_the_operator_says_how_many_connections_there_are(simulators: Simulators) -> None:
    settings = trusting(simulators, SMTP_CONNECTIONS="2")
    async with sender(simulators.announced["smtp"], **settings) as send:
        await asyncio.gather(*(send(email()) for _ in range(9)))
    assert await connections_to(simulators) == 2
    found = smtp_settings(simulators.announced["smtp"], **settings)
    connected = connect(found, IntegrationContext("https://api.example.com/webhooks/smtp"))
    # As many again are at hand for when a connection comes free.
    assert connected.in_flight == 4
    await connected.close()


async def test_a_message_that_gets_no_connection_in_time_was_not_sent() -> None:
    async with smtp_relay(end_of_data=SILENCE) as relay:
        settings = smtp_settings(relay.port, SMTP_TLS="none")
        connections = ConnectionPool(settings)
        slow = SmtpSender(settings, connections, preparing=0.3, confirming=0.7)
        ends = await asyncio.gather(*(slow.send(email()) for _ in range(11)), return_exceptions=True)
        await connections.close()
        assert sorted(type(end).__name__ for end in ends) == ["OutcomeUnknown"] * 10 + ["ProviderUnavailable"]
        assert len(relay.mails) == 10


async def probe(port: int, seconds: float = 3, **settings: str) -> list[Finding]:
    connections = ConnectionPool(smtp_settings(port, **settings))
    findings = await SmtpProbe(connections, seconds=seconds).check()
    await connections.close()
    return list(findings)


async def test_a_healthy_relay_has_no_findings_and_gets_no_mail(simulators: Simulators) -> None:
    assert await probe(simulators.announced["smtp"], **trusting(simulators)) == []
    assert await simulators.control.messages("smtp") == []


async def test_a_relay_that_refuses_us_is_found(simulators: Simulators) -> None:
    (finding,) = await probe(simulators.announced["smtp"], **trusting(simulators, SMTP_PASSWORD="wrong"))
    assert (finding.code, "SMTP_PASSWORD" in finding.detail) == ("SMTP_REFUSES_US", True)


@pytest.mark.parametrize("stage", ["connect", "noop"])
@pytest.mark.parametrize("reply", ["421 4.3.2 Not now", SILENCE])
async def test_a_relay_that_is_not_well_is_found(stage: str, reply: str) -> None:
    async with smtp_relay(**{stage: reply}) as relay:
        (finding,) = await probe(relay.port, seconds=0.2, SMTP_TLS="none")
        assert finding.code == "SMTP_UNREACHABLE"
        assert finding.detail


async def test_a_relay_out_of_reach_is_found() -> None:
    async with smtp_relay() as gone:
        pass
    (finding,) = await probe(gone.port, SMTP_TLS="none")
    assert finding.code == "SMTP_UNREACHABLE"
