"""The route of a message: the channels it may use, in order, and what each has to reach in what time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from core.messages.values import RouteGoal, UnconfirmedPolicy
from core.ports import Channel

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


def step(
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
    return [_step_from_json(one) for one in data]


def _step_from_json(one: Mapping[str, Any]) -> Step:
    read = step(
        Channel(one["channel"]),
        within=timedelta(seconds=one["within"]) if one.get("within") is not None else None,
        until=RouteGoal(one["until"]) if "until" in one else None,
        on_unconfirmed=UnconfirmedPolicy(one["onUnconfirmed"]) if "onUnconfirmed" in one else None,
    )
    return replace(read, begins_anew=True) if one.get("beginsAnew") else read
