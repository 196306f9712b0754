"""When a message goes out: its caller's schedule, held against the database's clock and the recipient's night."""

from datetime import datetime, timedelta
from uuid import UUID

from core.access.zones import TenantZones
from core.clock import DatabaseClock
from core.errors import InputRule, InvalidInput
from core.messages.check import FURTHEST, Checked
from core.messages.quiet import calm_moment
from core.quiet_hours import QuietHours
from core.words import say

_TOLERATED = timedelta(minutes=1)
"""Clocks differ, and requests take a while: what is less than that in the past goes out at once."""


class Timetable:
    """Finds the hour of a message."""

    def __init__(self, clock: DatabaseClock, zones: TenantZones, quiet_hours: QuietHours) -> None:
        self._clock = clock
        self._zones = zones
        self._quiet_hours = quiet_hours

    async def hour_of(self, tenant_id: UUID, checked: Checked) -> datetime | None:
        """The hour that replaces the caller's schedule; None where that stands. Raises InvalidInput, Overloaded."""
        draft = checked.draft
        if draft.send_at is None and not draft.respects_quiet_hours:
            return None
        now = await self._clock.now()
        if draft.send_at is not None:
            _check_hour(draft.send_at, now, checked)
        if not draft.respects_quiet_hours:
            return None
        wanted = max(draft.send_at or now + (draft.send_after or timedelta(0)), now)
        home = await self._zones.of(tenant_id)
        calm = calm_moment(wanted, checked.address, home, self._quiet_hours)
        return calm if calm > wanted else None


def _check_hour(hour: datetime, now: datetime, checked: Checked) -> None:
    path = [*checked.place, "schedule", "at"]
    if hour < now - _TOLERATED:
        text = say(
            "SCHEDULE_IN_THE_PAST",
            "It is {now} already. Leave `schedule` out to send it at once.",
            now=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        )
        raise InvalidInput(text, path=path, rule=InputRule.IN_THE_PAST)
    if hour > now + FURTHEST:
        text = say("TOO_FAR_AHEAD", "A message can be scheduled at most {days} days ahead.", days=FURTHEST.days)
        raise InvalidInput(text, path=path, rule=InputRule.OUT_OF_RANGE)
