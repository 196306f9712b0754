"""Messages in each state, provider events, and a fake look-up, for the tests of delivery."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID, uuid4

from sqlalchemy import text

from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderRejected,
    ProviderUnavailable,
)
from core.liveness import Activity, ActivityReporter
from core.messages.claim import Timing
from core.messages.status import Step, UnconfirmedPolicy, make_step
from core.messages.unconfirmed import Settler
from core.messages.validation import ChannelService, Draft
from core.ports import (
    Channel,
    Failure,
    InboundMessage,
    LookupRequest,
    OutboundMessage,
    ProviderRecord,
    Receipt,
    Reference,
    ReportedStatus,
    StatusReport,
    TextContent,
)
from core.ports.identity import DEFAULT_TENANT
from tests.delivery.pipeline import MessagePipeline

OTHER_TENANT = UUID("01900000-0000-7000-8000-0000000000ff")


INVALID_NUMBER = Failure(FailureReason.INVALID_RECIPIENT, FailureParty.RECIPIENT, "No phone has this number.", "30005")


def status_report(message_id: UUID, status: ReportedStatus, *, attempt: int = 1, named: bool = True) -> StatusReport:
    sid = f"SM{message_id.hex}"
    return StatusReport(
        f"{sid}:{status}:{attempt}",
        status.value.lower(),
        f"MessageSid={sid}&To=%2B5511987654321",
        status=status,
        reference=Reference(DEFAULT_TENANT, message_id, attempt) if named else None,
        provider_message_id=sid,
        failure=INVALID_NUMBER if status is ReportedStatus.FAILED else None,
    )


def inbound_message(recipient: str, sender: str = "+5511912345678", body: str = "SIM") -> InboundMessage:
    sid = f"SM{uuid4().hex}"
    return InboundMessage(
        f"{sid}:received",
        "received",
        "raw",
        channel=Channel.SMS,
        sender=sender,
        recipient=recipient,
        text=body,
        provider_message_id=sid,
    )


async def sent_message(pipeline: MessagePipeline) -> UUID:
    message_id = await pipeline.accept()
    await pipeline.delivery.drain()
    return message_id


MAKE_INBOX_DUE = "UPDATE inbox SET due_at = now() WHERE status = 'RECEIVED'"


def poison_event() -> InboundMessage:
    """A column in the clear cannot hold NUL; if an adapter lets it through, the inbox must continue."""
    return inbound_message("+15005550006", sender="\0abcdefghijkl")


async def fetch_rows(pipeline: MessagePipeline, statement: str) -> list[tuple[object, ...]]:
    async with pipeline.worker.transaction() as connection:
        return [tuple(row) for row in await connection.execute(text(statement))]


ALL_CHANNELS = {
    Channel.WHATSAPP: ChannelService("whatsapp", True),
    Channel.SMS: ChannelService("twilio", True),
    Channel.EMAIL: ChannelService("smtp", True),
}


async def failed_message(pipeline: MessagePipeline) -> UUID:
    message_id = await pipeline.accept()
    answer, pipeline.sender.answer = pipeline.sender.answer, refuse
    await pipeline.delivery.drain()
    pipeline.sender.answer = answer
    assert await pipeline.status(message_id) == "FAILED"
    return message_id


def refuse(_: OutboundMessage) -> Receipt:
    raise ProviderRejected("The account is closed.", provider="twilio", party=FailureParty.OPERATOR)


async def apply_report(pipeline: MessagePipeline, message_id: UUID, status: ReportedStatus, attempt: int = 1) -> None:
    await pipeline.keep(status_report(message_id, status, attempt=attempt))
    await pipeline.apply()


SMS = Channel.SMS


QUICK_TIMING = Timing(send_deadline=timedelta(seconds=2), hold=timedelta(seconds=30))


@dataclass
class FakeLookup:
    """A provider's look-up with results that the test sets."""

    found: Sequence[ProviderRecord] = ()
    is_away: bool = False
    sought: list[LookupRequest] = field(default_factory=list)
    counted: int | None = 0

    async def find(self, sought: LookupRequest) -> Sequence[ProviderRecord]:
        self.sought.append(sought)
        if self.is_away:
            raise ProviderUnavailable("away", provider="twilio")
        return self.found

    async def count(self, day: date) -> int | None:
        return self.counted


def lose_answer(_: OutboundMessage) -> Receipt:
    raise OutcomeUnknown("The line broke.", provider="twilio", answer="502, 12 bytes")


async def record_an_hour_of_uptime(pipeline: MessagePipeline) -> None:
    for pulse in Activity:
        await ActivityReporter(pipeline.worker, pulse).beat()
    await pipeline.tamper("UPDATE pulses SET resumed_at = now() - interval '1 hour'")


def make_settler(pipeline: MessagePipeline, lookup: FakeLookup | None) -> Settler:
    lookups = {} if lookup is None else {"twilio": lookup}
    return Settler(pipeline.worker, pipeline.sealer, pipeline.hub, lookups, "settler", QUICK_TIMING)


async def unconfirmed_message(
    pipeline: MessagePipeline,
    *route: Step,
    policy: UnconfirmedPolicy | None = None,
    phone: str = "+5511987654321",
    words: str = "Olá",
    tenant: UUID = DEFAULT_TENANT,
) -> UUID:
    """A message whose answer was lost, due to be settled, with nothing that delays it."""
    pipeline.sender.answer = lose_answer
    path = list(route) or [make_step(SMS, on_unconfirmed=policy)]
    message_id = (await pipeline.outbox.accept(tenant, Draft(TextContent(words), path, phone))).message_id
    await pipeline.delivery.drain()
    assert (await pipeline.message(message_id, tenant)).status == "UNCONFIRMED"
    await pipeline.tamper("UPDATE messages SET due_at = now() WHERE id = :id", id=message_id)
    await record_an_hour_of_uptime(pipeline)
    return message_id


FIVE_MINUTES = timedelta(minutes=5)


SMS_THEN_WHATSAPP = [make_step(Channel.SMS, within=FIVE_MINUTES), make_step(Channel.WHATSAPP)]


async def accepted_message(pipeline: MessagePipeline, route: list[Step]) -> UUID:
    pipeline.serve(Channel.WHATSAPP, "whatsapp")
    return (await pipeline.outbox.accept(DEFAULT_TENANT, Draft(TextContent("Olá"), route, "+5511987654321"))).message_id
