"""The route of a message: the channels it may use, in order, and what each has to reach in what time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from core.messages.values import RouteGoal, UnconfirmedPolicy
from core.ports import Channel


@dataclass(frozen=True, slots=True)
class Step:
    """One channel of a route. `within` is the time it has to reach `until` before the next one is tried.

    Without `within` only a failure moves on.
    """

    channel: Channel
    within: timedelta | None
    until: RouteGoal
    on_unconfirmed: UnconfirmedPolicy


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
    is_email = channel is Channel.EMAIL
    return Step(
        channel,
        within,
        until or (RouteGoal.SENT if is_email else RouteGoal.DELIVERED),
        on_unconfirmed or (UnconfirmedPolicy.RESEND if is_email else UnconfirmedPolicy.WAIT),
    )


def route_to_json(route: Sequence[Step]) -> list[dict[str, Any]]:
    """Write a route down for its column."""
    return [
        {
            "channel": one.channel.value,
            "within": one.within.total_seconds() if one.within is not None else None,
            "until": one.until.value,
            "onUnconfirmed": one.on_unconfirmed.value,
        }
        for one in route
    ]


def route_from_json(data: Sequence[Mapping[str, Any]]) -> list[Step]:
    """Read what `route_to_json` wrote, an earlier version's too, which named nothing but channels."""
    return [
        step(
            Channel(one["channel"]),
            within=timedelta(seconds=one["within"]) if one.get("within") is not None else None,
            until=RouteGoal(one["until"]) if "until" in one else None,
            on_unconfirmed=UnconfirmedPolicy(one["onUnconfirmed"]) if "onUnconfirmed" in one else None,
        )
        for one in data
    ]
