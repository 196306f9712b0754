"""The values of a message: statuses, outcomes, routes and their steps, and a provider's id as a row keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from core.ports import Channel


class Direction(StrEnum):
    """Whether we wrote or they did."""

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


class MessageStatus(StrEnum):
    """Where a message stands."""

    SCHEDULED = "SCHEDULED"
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    UNCONFIRMED = "UNCONFIRMED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    READ = "READ"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    # Of what people wrote to us. It is stored as DELIVERED, as every version before did, and told as this.
    RECEIVED = "RECEIVED"


def public_status(status: MessageStatus, direction: Direction) -> MessageStatus:
    """The status that clients are told: what came in is received."""
    came_in = direction is Direction.INBOUND and status is MessageStatus.DELIVERED
    return MessageStatus.RECEIVED if came_in else status


class AttemptOutcome(StrEnum):
    """How a call to a company ended."""

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
    """What to do when nobody can say whether a send happened."""

    WAIT = "WAIT"
    RESEND = "RESEND"
    NEXT_CHANNEL = "NEXT_CHANNEL"


class RouteOutcome(StrEnum):
    """What became of one step of a route."""

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


# The route of a message: the channels it may use, in order, and what each has to reach in what time.


MOST_STEPS = 100
"""Steps of all rounds together: nobody is helped by more, and each makes the row longer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One channel of a route. `within` is the time it has to reach `until` before the next one is tried.

    Without `within` only a failure moves on. `begins_anew` marks the first step of another try by hand.
    """

    channel: Channel
    within: timedelta | None
    until: RouteGoal
    on_unconfirmed: UnconfirmedPolicy
    begins_anew: bool = False


def latest_round(route: Sequence[Step]) -> Sequence[Step]:
    """The steps of the last try, without those of the tries before it."""
    begin = max((place for place, one in enumerate(route) if one.begins_anew), default=0)
    return [replace(one, begins_anew=False) for one in route[begin:]]


def has_room(route: Sequence[Step], more: Sequence[Step]) -> bool:
    """Whether a message's route can be longer by these."""
    return len(route) + len(more) <= MOST_STEPS


def make_step(
    channel: Channel,
    *,
    within: timedelta | None = None,
    until: RouteGoal | None = None,
    on_unconfirmed: UnconfirmedPolicy | None = None,
) -> Step:
    """Make a step; what is left out is what suits the channel.

    A relay reports nothing after it took an e-mail, so its taking is the goal, and one that was perhaps not taken is
    sent once more under the same Message-ID. SMS and WhatsApp have reports worth waiting for.
    """
    is_reported = reports_delivery(channel)
    return Step(
        channel,
        within,
        until or (RouteGoal.DELIVERED if is_reported else RouteGoal.SENT),
        on_unconfirmed or (UnconfirmedPolicy.WAIT if is_reported else UnconfirmedPolicy.RESEND),
    )


def reports_delivery(channel: Channel) -> bool:
    """Whether anybody tells what is delivered on a channel: a mail server says no more than that it took an e-mail."""
    return channel is not Channel.EMAIL


def route_to_json(route: Sequence[Step]) -> list[dict[str, Any]]:
    """Write a route down for its column."""
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
    """Read what `route_to_json` wrote, an earlier version's too, which named nothing but channels."""
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
    """A provider's id as a row keeps it: what is not in the row is None."""

    sealed: bytes | None
    lookup: bytes | None
    clear: str | None

    @classmethod
    def of_row(cls, row: Row[Any]) -> "ProviderId | None":
        """What a row of attempts or messages keeps; None where there is nothing."""
        kept = cls(row.provider_id_sealed, row.provider_id_lookup, row.provider_message_id)
        return None if kept == _NOTHING else kept


_NOTHING = ProviderId(None, None, None)
