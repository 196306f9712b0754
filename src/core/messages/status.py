"""The values of a message: statuses, outcomes, routes and their steps, and a provider's id as a row keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from core.ports import Channel


class Direction(StrEnum):
    """Whether we sent it or received it."""

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


class MessageStatus(StrEnum):
    """The status of a message."""

    SCHEDULED = "SCHEDULED"
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    UNCONFIRMED = "UNCONFIRMED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    READ = "READ"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    # Of messages that people sent to us. The column holds DELIVERED, as in earlier versions; clients see RECEIVED.
    RECEIVED = "RECEIVED"


def public_status(status: MessageStatus, direction: Direction) -> MessageStatus:
    """Return the status that clients see: an inbound message is RECEIVED."""
    is_inbound = direction is Direction.INBOUND and status is MessageStatus.DELIVERED
    return MessageStatus.RECEIVED if is_inbound else status


class AttemptOutcome(StrEnum):
    """How a call to a provider ended."""

    IN_FLIGHT = "IN_FLIGHT"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNAVAILABLE = "UNAVAILABLE"
    UNCONFIRMED = "UNCONFIRMED"


class RouteGoal(StrEnum):
    """What a channel must reach for the route to stop there."""

    SENT = "SENT"
    DELIVERED = "DELIVERED"


class UnconfirmedPolicy(StrEnum):
    """What to do when it is unknown whether a message was sent."""

    WAIT = "WAIT"
    RESEND = "RESEND"
    NEXT_CHANNEL = "NEXT_CHANNEL"


class RouteOutcome(StrEnum):
    """The outcome of one step of a route."""

    WAITING = "WAITING"
    TRYING = "TRYING"
    UNCONFIRMED = "UNCONFIRMED"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class EventSource(StrEnum):
    """Who or what made something happen."""

    API = "API"
    SCHEDULER = "SCHEDULER"
    WORKER = "WORKER"
    WEBHOOK = "WEBHOOK"
    OPERATOR = "OPERATOR"


# The route of a message: its channels in order, what each must reach, and in what time.


MESSAGE_SEND = "message.send"
"""The kind of work of a dead letter for a message."""
MOST_STEPS = 100
"""Steps of all rounds together: each makes the row longer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One channel of a route. `within` is the time it has to reach `until` before the next step is tried.

    Without `within` only a failure leads to the next step. `begins_anew` marks the first step of a retry.
    """

    channel: Channel
    within: timedelta | None
    until: RouteGoal
    on_unconfirmed: UnconfirmedPolicy
    begins_anew: bool = False


def latest_round(route: Sequence[Step]) -> Sequence[Step]:
    """Return the steps of the latest retry, or of the whole route where there was none."""
    begin = max((place for place, one in enumerate(route) if one.begins_anew), default=0)
    return [replace(one, begins_anew=False) for one in route[begin:]]


def has_room(route: Sequence[Step], more: Sequence[Step]) -> bool:
    """Whether these steps can be added to a message's route."""
    return len(route) + len(more) <= MOST_STEPS


def make_step(
    channel: Channel,
    *,
    within: timedelta | None = None,
    until: RouteGoal | None = None,
    on_unconfirmed: UnconfirmedPolicy | None = None,
) -> Step:
    """Make a step; what is left out gets the channel's default.

    An SMTP relay reports nothing after it accepted an e-mail, so the goal is SENT, and an unconfirmed one is sent once
    more under the same Message-ID. SMS and WhatsApp report deliveries, so those are waited for.
    """
    is_reported = reports_delivery(channel)
    return Step(
        channel,
        within,
        until or (RouteGoal.DELIVERED if is_reported else RouteGoal.SENT),
        on_unconfirmed or (UnconfirmedPolicy.WAIT if is_reported else UnconfirmedPolicy.RESEND),
    )


def reports_delivery(channel: Channel) -> bool:
    """Whether a channel reports deliveries: a mail server only says that it accepted an e-mail."""
    return channel is not Channel.EMAIL


def route_to_json(route: Sequence[Step]) -> list[dict[str, Any]]:
    """Encode a route for its column."""
    return [
        {
            "channel": one.channel.value,
            "within": one.within.total_seconds() if one.within is not None else None,
            "until": one.until.value,
            "onUnconfirmed": one.on_unconfirmed.value,
            **({"beginsAnew": True} if one.begins_anew else {}),
        }
        for one in route
    ]


def route_from_json(data: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Decode what `route_to_json` wrote, also in an earlier version, which named channels only."""
    return [_read_step(one) for one in data]


def _read_step(one: Mapping[str, Any]) -> Step:
    read = make_step(
        Channel(one["channel"]),
        within=timedelta(seconds=one["within"]) if one.get("within") is not None else None,
        until=RouteGoal(one["until"]) if "until" in one else None,
        on_unconfirmed=UnconfirmedPolicy(one["onUnconfirmed"]) if "onUnconfirmed" in one else None,
    )
    return replace(read, begins_anew=True) if one.get("beginsAnew") else read


@dataclass(frozen=True, slots=True)
class ProviderId:
    """A provider's id of a message as a row holds it; a form that the row lacks is None."""

    sealed: bytes | None
    lookup: bytes | None
    clear: str | None

    @classmethod
    def of_row(cls, row: Row[Any]) -> "ProviderId | None":
        """Read the id of a row of attempts or messages; None where the row holds none."""
        kept = cls(row.provider_id_sealed, row.provider_id_lookup, row.provider_message_id)
        return None if kept == _NOTHING else kept


_NOTHING = ProviderId(None, None, None)
