"""Provider events are written and read back completely, also those that an earlier version wrote."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from core.errors import FailureParty, FailureReason
from core.ports import (
    Channel,
    Failure,
    InboundMessage,
    OtherEvent,
    Price,
    ProviderEvent,
    Reference,
    ReportedStatus,
    StatusReport,
    TemplatesChanged,
)
from tests.contributed import EVENT_TYPES

REFERENCE = Reference(UUID(int=1), UUID(int=2), 3)
AT = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
REPORT = StatusReport(
    "wamid.A:failed",
    "failed",
    "",
    status=ReportedStatus.FAILED,
    price=Price(True, "PMP", "utility"),
    reference=REFERENCE,
    provider_message_id="wamid.A",
    failure=Failure(FailureReason.UNREACHABLE, FailureParty.RECIPIENT, "No account.", "131026"),
    occurred_at=AT,
)
INBOUND = InboundMessage(
    "wamid.B",
    "received",
    "",
    channel=Channel.WHATSAPP,
    sender="BR.13491208655302741918",
    recipient="106540352242922",
    text="Olá",
    provider_message_id="wamid.B",
    occurred_at=AT,
    kind="button",
    in_reply_to="wamid.A",
)
BARE_REPORT = StatusReport("SM1:sent", "sent", "", status=ReportedStatus.SENT)
BARE_INBOUND = InboundMessage(
    "SM2", "received", "", channel=Channel.SMS, sender="+1", recipient="+2", text=None, provider_message_id="SM2"
)
EVENTS = [
    REPORT,
    BARE_REPORT,
    INBOUND,
    BARE_INBOUND,
    TemplatesChanged("sha256:1", "message_template_status_update", ""),
    OtherEvent("x", "auras", "", reference=REFERENCE),
]


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_read_back_as_it_was(event: ProviderEvent) -> None:
    assert EVENT_TYPES.decode(EVENT_TYPES.encode(event)) == event


@pytest.mark.parametrize("event", EVENTS)
def test_the_raw_piece_is_not_written_twice(event: ProviderEvent) -> None:
    assert "the raw piece" not in EVENT_TYPES.encode(replace(event, raw="the raw piece"))


@pytest.mark.parametrize(
    ("event", "new", "old"),
    [
        (REPORT, ["price"], replace(REPORT, price=None)),
        (INBOUND, ["messageKind", "inReplyTo"], replace(INBOUND, kind="text", in_reply_to=None)),
    ],
)
def test_what_an_earlier_version_wrote_is_read(event: ProviderEvent, new: list[str], old: ProviderEvent) -> None:
    data = json.loads(EVENT_TYPES.encode(event))
    assert set(new) <= data.keys()
    assert EVENT_TYPES.decode(json.dumps({name: value for name, value in data.items() if name not in new})) == old
