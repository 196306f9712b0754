"""Postfix as the SMTP relay: its refusals, who must act, and what happens to connections and the circuit."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis

from core.database import Database
from core.errors import (
    FailureParty,
    FailureReason,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.messages.delivery import ChannelDelivery
from core.messages.status import make_step
from core.messages.validation import Draft
from core.ports import Channel, EmailContent, OutboundMessage, Receipt, Reference
from core.ports.identity import DEFAULT_TENANT
from core.providers.circuit import Circuits, CircuitState
from core.providers.rate_limiter import SharedRateLimiter
from core.pubsub import Hub
from core.sealing import Sealer
from core.settings import load
from integrations.smtp.adapter import SmtpSender
from integrations.smtp.connections import ConnectionPool
from integrations.smtp.settings import Settings
from tests.databases import SharedStores
from tests.delivery.pipeline import FakeSender, make_pipeline
from tests.third_party.postfix import PASSWORD, SIZE_LIMIT, USER, Postfix, needs_postfix, running

pytestmark = needs_postfix
CALLER, RECIPIENT, OPERATOR, _ = FailureParty
Sending = Callable[[str], Awaitable[Receipt]]
MANY = 14
UNKNOWN = {"SMTP_USERNAME": "", "SMTP_PASSWORD": ""}


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with tempfile.TemporaryDirectory(prefix="interalpha-postfix-") as folder:
        # Its processes do not run as root.
        Path(folder).chmod(0o755)
        with running(Path(folder)) as found:
            yield found


def settings(postfix: Postfix, port: str = "open", **changes: str) -> Settings:
    given = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(postfix.ports[port]),
        "SMTP_TLS": "starttls",
        "SMTP_CA_FILE": str(postfix.ca_file),
        "SMTP_USERNAME": USER,
        "SMTP_PASSWORD": PASSWORD,
        "SMTP_FROM": "Clínica Ação <no-reply@example.com>",
        **changes,
    }
    loaded = load(Settings, {name: value for name, value in given.items() if value})
    assert loaded.value is not None, loaded.problems
    return loaded.value


def mail(to: str, text: str = "Até amanhã.") -> OutboundMessage:
    content = EmailContent("Sua consulta é amanhã", text, None)
    return OutboundMessage(Reference(UUID(int=1), uuid4(), 1), Channel.EMAIL, to, content)


@asynccontextmanager
async def sending(postfix: Postfix, port: str = "open", **changes: str) -> AsyncIterator[Sending]:
    found = settings(postfix, port, **changes)
    connections = ConnectionPool(found)
    sender = SmtpSender(found, connections)
    yield lambda to: sender.send(mail(to))
    await connections.close()


async def refusal(sent: Awaitable[Receipt]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await sent
    return caught.value


async def test_a_mail_is_sent_encrypted_and_authenticated(postfix: Postfix) -> None:
    async with sending(postfix) as send:
        receipt = await send("ana@example.net")
        # Also to domains that are not Postfix's own, since the client is authenticated.
        abroad = await send("ana@example.org")
    assert receipt.provider_message_id != abroad.provider_message_id
    assert receipt.answer == "250 2.0.0 Ok: queued as …"
    assert f"{receipt.provider_message_id}: " in (postfix.folder / "log").read_text()


@pytest.mark.parametrize(
    ("to", "kind", "code", "reason", "party"),
    [
        ("grey1@example.net", ProviderUnavailable, "450 4.7.1", FailureReason.UNREACHABLE, RECIPIENT),
        ("full@example.net", ProviderUnavailable, "452 4.2.2", FailureReason.UNREACHABLE, RECIPIENT),
        ("brimful@example.net", ProviderRejected, "552 5.2.2", FailureReason.UNREACHABLE, RECIPIENT),
        ("over@example.net", ProviderRejected, "552 5.7.1", FailureReason.UNREACHABLE, RECIPIENT),
        ("nobody@example.net", ProviderRejected, "550 5.1.1", FailureReason.INVALID_RECIPIENT, RECIPIENT),
    ],
)
async def test_a_refused_recipient_has_its_own_error_and_keeps_the_connection(
    postfix: Postfix, to: str, kind: type[ProviderError], code: str, reason: FailureReason, party: FailureParty
) -> None:
    before = postfix.connections()
    async with sending(postfix) as send:
        error = await refusal(send(to))
        await send("ana@example.net")
    assert (type(error), error.provider_code, error.reason, error.party) == (kind, code, reason, party)
    assert postfix.connections() - before == 1


async def test_a_mail_that_is_too_large_is_an_error_of_the_caller(postfix: Postfix) -> None:
    found = settings(postfix)
    connections, before = ConnectionPool(found), postfix.connections()
    sender = SmtpSender(found, connections)
    error = await refusal(sender.send(mail("ana@example.net", "linha\n" * SIZE_LIMIT)))
    await sender.send(mail("ana@example.net"))
    await connections.close()
    assert (type(error), error.provider_code) == (ProviderRejected, "552 5.3.4")
    assert (error.reason, error.party) == (FailureReason.CONTENT_REJECTED, CALLER)
    assert postfix.connections() - before == 1


@pytest.mark.parametrize(
    ("port", "changes", "code", "advice"),
    [
        ("open", {"SMTP_FROM": "owned@example.com"}, "553 5.7.1", "SMTP_FROM"),
        ("open", {"SMTP_PASSWORD": "wrong"}, "535 5.7.8", "SMTP_PASSWORD"),
        ("open", {"SMTP_TLS": "none"}, None, "no way to sign in"),
        ("open", {**UNKNOWN, "SMTP_FROM": "free@example.com"}, "554 5.7.1", "SMTP_USERNAME"),
        (
            "open",
            {**UNKNOWN, "SMTP_FROM": "owned@example.com"},
            "553 5.7.1",
            "SMTP_USERNAME",
        ),
        ("encrypted", {**UNKNOWN, "SMTP_TLS": "none"}, "530 5.7.0", "SMTP_TLS"),
        ("closed", UNKNOWN, "554 5.7.1", "this machine"),
    ],
)
async def test_a_refused_login_names_the_settings_to_change(
    postfix: Postfix, port: str, changes: dict[str, str], code: str | None, advice: str
) -> None:
    async with sending(postfix, port, **changes) as send:
        error = await refusal(send("ana@example.org"))
    assert (type(error), error.party) == (ProviderMisconfigured, OPERATOR)
    assert error.provider_code == code
    assert advice in error.message


async def test_a_relay_that_defers_foreign_mail_is_an_error_of_the_operator(postfix: Postfix) -> None:
    async with sending(postfix, "deferring", **{**UNKNOWN, "SMTP_FROM": "free@example.com"}) as send:
        error = await refusal(send("ana@example.org"))
    assert (type(error), error.provider_code, error.party) == (ProviderUnavailable, "454 4.7.1", OPERATOR)
    assert "passes nothing on" in error.message


async def test_greylisted_and_full_mailboxes_delay_no_other_mail(
    postfix: Postfix, app_database: Database, worker_database: Database, sealer: Sealer, hub: Hub, stores: SharedStores
) -> None:
    """The mail is accepted, claimed and deferred, and the circuit stays closed for the next one."""
    found, name = settings(postfix, SMTP_CONNECTIONS="1"), f"smtp-{uuid4().hex}"
    connections, before = ConnectionPool(found), postfix.connections()
    redis = Redis.from_url(stores.urls.redis)
    pipeline = make_pipeline(app_database, worker_database, sealer, hub, FakeSender())
    pipeline.serve(Channel.EMAIL, name)
    gate = SharedRateLimiter(redis, name, None)
    delivery = ChannelDelivery(
        Channel.EMAIL,
        name,
        SmtpSender(found, connections),
        worker_database,
        sealer,
        hub,
        "test",
        rate_limiter=gate,
        in_flight=2,
    )

    async def accept(to: str) -> UUID:
        draft = Draft(EmailContent("Olá", "Até amanhã.", None), [make_step(Channel.EMAIL)], email=to)
        return (await pipeline.outbox.accept(DEFAULT_TENANT, draft)).message_id

    async def deliver() -> None:
        async with asyncio.timeout(60):
            await delivery.drain()

    late = [await accept(f"grey{100 + number}@example.net") for number in range(MANY)]
    full = [await accept(f"full{number}@example.net") for number in range(MANY)]
    await deliver()
    assert (await Circuits(redis).read([name]))[name].state is CircuitState.CLOSED
    assert {await pipeline.status(one) for one in full} == {"QUEUED"}
    tries = [await pipeline.attempts(one) for one in (*late, *full)]
    assert {one[-1].failure.party for one in tries if one[-1].failure} == {RECIPIENT}
    # Postfix slows a client down after ten errors on a connection; each refusal counts twice, for RCPT and DATA.
    assert postfix.connections() - before <= sum(map(len, tries)) // 5 + 1
    ana = await accept("ana@example.net")
    await deliver()
    assert await pipeline.status(ana) == "SENT"
    # The greylist accepts the second try.
    await pipeline.tamper("UPDATE messages SET due_at = now() WHERE status = 'QUEUED'")
    await deliver()
    assert {await pipeline.status(one) for one in late} == {"SENT"}
    assert {await pipeline.status(one) for one in full} == {"QUEUED"}
    assert (await Circuits(redis).read([name]))[name].state is CircuitState.CLOSED
    await connections.close()
    await redis.aclose()
