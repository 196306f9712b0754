"""Two mail servers: the second gets what the first certainly did not accept, and nothing it may have accepted."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes

import pytest
from structlog.testing import capture_logs

from core.errors import OutcomeUnknown, ProviderMisconfigured, ProviderRejected, ProviderUnavailable
from core.ports import Connected, IntegrationContext, MessageSender
from integrations.simulating.faults import FaultKind, FaultOrder
from integrations.simulating.journal import Journal
from integrations.smtp import connect
from integrations.smtp.adapter import (
    FAILURES_BEFORE_FAILOVER,
    FIRST_FAILOVER,
    LONGEST_FAILOVER,
    FailoverState,
    FallbackSender,
    SmtpSender,
)
from integrations.smtp.connections import ConnectionPool
from integrations.smtp.simulator import Simulator
from tests.providers.factories import email, smtp_settings
from tests.providers.servers import HANG_UP, RESET, SILENCE, ScriptedRelay, smtp_relay
from tests.servers import PASSWORD, USER

BEFORE_THE_TEXT = ["connect", "ehlo", "auth", "mail", "rcpt", "data"]


def two(first: int, second: int, **changes: str) -> dict[str, str]:
    """The settings of two servers on this machine."""
    return {
        "SMTP_PORT": str(first),
        "SMTP_TLS": "none",
        "SMTP_FALLBACK_HOST": "127.0.0.1",
        "SMTP_FALLBACK_PORT": str(second),
        "SMTP_FALLBACK_TLS": "none",
        "SMTP_FALLBACK_USERNAME": USER,
        "SMTP_FALLBACK_PASSWORD": PASSWORD,
        **changes,
    }


@contextmanager
def patience(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Iterator[None]:
    """Leave both servers hardly any time."""
    for sender in (FallbackSender, SmtpSender):
        monkeypatch.setattr(sender.__init__, "__kwdefaults__", {"preparing": seconds, "confirming": seconds})
    yield


@asynccontextmanager
async def at_work(first: int, second: int, **changes: str) -> AsyncIterator[Connected]:
    connected = connect(smtp_settings(**two(first, second, **changes)), IntegrationContext("https://api.example.com"))
    yield connected
    await connected.close()


def sender_of(connected: Connected) -> MessageSender:
    assert connected.sender is not None
    return connected.sender


def message_ids(relay: ScriptedRelay) -> list[str]:
    return [str(message_from_bytes(raw)["Message-ID"]) for raw in relay.mails]


async def test_while_the_first_server_works_the_second_gets_nothing() -> None:
    async with smtp_relay() as first, smtp_relay() as second, at_work(first.port, second.port) as connected:
        receipt = await sender_of(connected).send(email())
        assert receipt.detail == "first server: 2.0.0 Ok: queued as 4bX9qZ1"
        assert (len(first.mails), second.wire.connections) == (1, 0)


@pytest.mark.parametrize("stage", BEFORE_THE_TEXT)
@pytest.mark.parametrize("reply", [HANG_UP, RESET, SILENCE, "421 4.3.2 Not now", "451 4.3.0 Come again"])
async def test_what_the_first_surely_did_not_take_goes_to_the_second(
    stage: str, reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with patience(monkeypatch, 0.6):
        async with (
            smtp_relay(**{stage: reply}) as first,
            smtp_relay(end_of_data="250 2.0.0 Ok: queued as B2") as second,
            at_work(first.port, second.port) as connected,
        ):
            receipt = await sender_of(connected).send(email())
            assert (receipt.provider_message_id, receipt.detail) == ("B2", "second server: 2.0.0 Ok: queued as B2")
            assert receipt.answer == "250 2.0.0 Ok: queued as …"
            assert (len(first.mails), len(second.mails)) == (0, 1)


async def test_a_server_that_is_not_there_is_stood_in_for() -> None:
    async with smtp_relay() as gone:
        pass
    async with smtp_relay() as second, at_work(gone.port, second.port) as connected:
        assert (await sender_of(connected).send(email())).provider_message_id
        assert len(second.mails) == 1


async def test_a_mail_refused_for_now_after_its_text_goes_to_the_second_with_the_same_message_id() -> None:
    async with (
        smtp_relay(end_of_data="451 4.3.0 Come again") as first,
        smtp_relay() as second,
        at_work(first.port, second.port) as connected,
    ):
        await sender_of(connected).send(email())
        assert message_ids(first) == message_ids(second) != []


@pytest.mark.parametrize("reply", ["535 5.7.8 Wrong password", "550 5.7.1 Not from there"])
async def test_a_first_server_that_refuses_us_is_stood_in_for(reply: str) -> None:
    stage = "auth" if reply.startswith("535") else "mail"
    async with (
        smtp_relay(**{stage: reply}) as first,
        smtp_relay() as second,
        at_work(first.port, second.port) as connected,
    ):
        assert (await sender_of(connected).send(email())).provider_message_id
        assert len(second.mails) == 1


@pytest.mark.parametrize("end", [HANG_UP, RESET, SILENCE, "what is this"])
async def test_what_the_first_may_have_taken_goes_nowhere_else(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with patience(monkeypatch, 0.4):
        async with (
            smtp_relay(end_of_data=end) as first,
            smtp_relay() as second,
            at_work(first.port, second.port) as connected,
        ):
            with pytest.raises(OutcomeUnknown):
                await sender_of(connected).send(email())
            assert (len(first.mails), second.wire.connections) == (1, 0)


@pytest.mark.parametrize(
    ("stage", "reply", "error"),
    [
        ("rcpt", "550 5.1.1 No such user", ProviderRejected),
        ("end_of_data", "554 5.7.1 Spam", ProviderRejected),
        ("rcpt", "452 4.2.2 Mailbox full", ProviderUnavailable),
    ],
)
async def test_what_every_server_would_say_is_said_once_and_is_no_failure(
    stage: str, reply: str, error: type[Exception]
) -> None:
    async with (
        smtp_relay(**{stage: reply}) as first,
        smtp_relay() as second,
        at_work(first.port, second.port) as connected,
    ):
        for _ in range(FAILURES_BEFORE_FAILOVER):
            with pytest.raises(error):
                await sender_of(connected).send(email())
        assert (first.wire.connections > 0, second.wire.connections) == (True, 0)
        assert connected.probe is not None
        assert await connected.probe.check() == []


async def test_a_refusal_by_the_second_names_the_second_s_settings() -> None:
    async with (
        smtp_relay(connect="421 4.3.2 Not now") as first,
        smtp_relay(mail="530 5.7.57 Client not authenticated to send mail") as second,
        at_work(first.port, second.port) as connected,
    ):
        with pytest.raises(ProviderMisconfigured) as caught:
            await sender_of(connected).send(email())
        assert "set SMTP_FALLBACK_USERNAME and SMTP_FALLBACK_PASSWORD, and SMTP_FALLBACK_TLS" in caught.value.message
        second.replies["mail"] = "550 5.7.60 Not yours"
        with pytest.raises(ProviderMisconfigured) as caught:
            await sender_of(connected).send(email())
        assert "SMTP_FROM" in caught.value.message


async def test_what_a_mailbox_s_server_says_for_now_sets_no_server_aside() -> None:
    for stage, reply in (
        ("rcpt", "451 4.7.1 Greylisted"),
        ("rcpt", "450 4.2.0 Busy"),
        ("end_of_data", "450 4.2.2 Full"),
    ):
        async with (
            smtp_relay(**{stage: reply}) as first,
            smtp_relay() as second,
            at_work(first.port, second.port) as connected,
        ):
            for _ in range(FAILURES_BEFORE_FAILOVER + 1):
                with pytest.raises(ProviderUnavailable):
                    await sender_of(connected).send(email())
            assert connected.probe is not None
            assert await connected.probe.check() == []
            assert second.mails == []


async def test_where_neither_takes_it_the_last_word_counts() -> None:
    async with (
        smtp_relay(connect="421 4.3.2 Not now") as first,
        smtp_relay(auth="535 5.7.8 Wrong password") as second,
        at_work(first.port, second.port) as connected,
    ):
        with pytest.raises(ProviderMisconfigured) as caught:
            await sender_of(connected).send(email())
        assert "SMTP_FALLBACK_PASSWORD" in caught.value.message
        assert caught.value.answer == "535 5.7.8 Wrong password"


async def test_both_together_take_no_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with patience(monkeypatch, 0.5):
        async with (
            smtp_relay(connect=SILENCE) as first,
            smtp_relay(connect=SILENCE) as second,
            at_work(first.port, second.port) as connected,
        ):
            async with asyncio.timeout(1.0):
                with pytest.raises(ProviderUnavailable):
                    await sender_of(connected).send(email())
            assert (first.wire.connections, second.wire.connections) == (1, 1)


async def test_a_first_server_that_keeps_failing_is_left_aside_and_found_well_again() -> None:
    clock = [0.0]
    standing = FailoverState(now=lambda: clock[0])
    async with smtp_relay(mail="451 4.3.0 Come again") as first, smtp_relay() as second:
        settings = smtp_settings(**two(first.port, second.port))
        one, other = ConnectionPool(settings), ConnectionPool(settings, settings.second)
        sender = FallbackSender(SmtpSender(settings, one), SmtpSender(settings, other), standing)
        with capture_logs() as logs:
            for _ in range(FAILURES_BEFORE_FAILOVER + 4):
                await sender.send(email())
        tried = [command for command in first.commands if command.startswith("MAIL")]
        assert (len(tried), len(second.mails)) == (FAILURES_BEFORE_FAILOVER, FAILURES_BEFORE_FAILOVER + 4)
        assert [entry["failures"] for entry in logs if entry["event"] == "smtp_first_server_failed"] == [1, 2, 3]
        assert logs[-1]["left_aside_for"] == FIRST_FAILOVER
        first.replies.clear()
        await sender.send(email())
        assert first.mails == []
        clock[0] += FIRST_FAILOVER
        for _ in range(2):
            assert (await sender.send(email())).detail == "first server: 2.0.0 Ok: queued as 4bX9qZ1"
        assert standing.failures == 0
        await one.close()
        await other.close()


async def test_who_is_left_aside_is_asked_when_the_other_fails() -> None:
    standing = FailoverState()
    async with smtp_relay() as first, smtp_relay(connect="421 4.3.2 Not now") as second:
        settings = smtp_settings(**two(first.port, second.port))
        one, other = ConnectionPool(settings), ConnectionPool(settings, settings.second)
        sender = FallbackSender(SmtpSender(settings, one), SmtpSender(settings, other), standing)
        for _ in range(FAILURES_BEFORE_FAILOVER):
            standing.failed(ProviderUnavailable("Not now.", provider="smtp"))
        assert (await sender.send(email())).detail == "first server: 2.0.0 Ok: queued as 4bX9qZ1"
        assert second.wire.connections == 1
        await one.close()
        await other.close()


def test_a_pause_grows_and_only_one_mail_tries_its_end() -> None:
    clock = [0.0]
    standing = FailoverState(now=lambda: clock[0])
    trouble = ProviderUnavailable("Not now.", provider="smtp")
    # Ten at once, as many as there are connections, are no longer a trouble than three.
    for _ in range(10):
        assert standing.goes_first() is (standing.failures < FAILURES_BEFORE_FAILOVER)
        standing.failed(trouble)
    pauses = []
    for _ in range(8):
        begun = clock[0]
        while not standing.goes_first():
            clock[0] += 1
        assert not standing.goes_first()
        standing.failed(trouble)
        pauses.append(clock[0] - begun)
    assert pauses == [min(FIRST_FAILOVER * 2**number, LONGEST_FAILOVER) for number in range(8)]
    standing.served()
    assert standing.goes_first()


async def test_the_probe_checks_both_servers_and_reports_what_the_first_did_not_take() -> None:
    async with (
        smtp_relay(mail="451 4.3.0 Come again") as first,
        smtp_relay() as second,
        at_work(first.port, second.port) as connected,
    ):
        assert connected.probe is not None
        assert await connected.probe.check() == []
        await sender_of(connected).send(email())
        (finding,) = await connected.probe.check()
        assert (finding.code, "1 mail " in finding.detail) == ("SMTP_FIRST_SERVER_FAILING", True)
        second.replies["noop"] = "421 4.3.2 Not now"
        first.replies["noop"] = "421 4.3.2 Not now"
        codes = {found.code for found in await connected.probe.check()}
        assert codes == {"SMTP_UNREACHABLE", "SMTP_FALLBACK_UNREACHABLE", "SMTP_FIRST_SERVER_FAILING"}
    async with (
        smtp_relay() as first,
        smtp_relay(auth="535 5.7.8 Wrong password") as second,
        at_work(first.port, second.port) as connected,
    ):
        assert connected.probe is not None
        (finding,) = await connected.probe.check()
        assert (finding.code, "SMTP_FALLBACK_PASSWORD" in finding.detail) == ("SMTP_FALLBACK_REFUSES_US", True)


async def test_no_error_or_log_contains_either_password() -> None:
    settings = smtp_settings(**two(1, 2, SMTP_FALLBACK_PASSWORD="second-password"))
    connected = connect(settings, IntegrationContext("https://api.example.com"))
    told = f"{connected!r} {settings!r} {settings.model_dump_json()} {settings.first!r} {settings.second!r}"
    assert [secret for secret in (PASSWORD, "second-password") if secret in told] == []
    await connected.close()


async def test_two_simulated_servers_have_each_mail_once() -> None:
    environment = {"SMTP_TLS": "none", "SMTP_USERNAME": USER, "SMTP_PASSWORD": PASSWORD}
    first, second = (Simulator(environment, Journal()) for _ in range(2))
    ports = [(await one.start())["smtp"] for one in (first, second)]
    try:
        first.arm(FaultOrder(kind=FaultKind.CODE, code="421", at="mail", every=2))
        async with at_work(*ports) as connected:
            receipts = [await sender_of(connected).send(email()) for _ in range(6)]
        kept = [mail.id for one in (first, second) for mail in one.kept()]
        assert sorted(kept) == sorted(str(receipt.provider_message_id) for receipt in receipts)
        assert [len(list(one.kept())) for one in (first, second)] == [3, 3]
        assert len({mail.shown()["message_id"] for one in (first, second) for mail in one.kept()}) == 1
    finally:
        await first.stop()
        await second.stop()
