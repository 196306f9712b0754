"""When a message may be sent: its caller's schedule, and quiet hours in the recipient's time zone."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import timezone as number_zones
from phonenumbers.tzdata import TIMEZONE_DATA

from core.access.directory import TenantZones
from core.addresses import Address
from core.brazil import AREA_CODES
from core.clock import DatabaseClock
from core.errors import InputRule, InvalidInput
from core.messages.validation import FURTHEST, CheckedDraft
from core.quiet_hours import CAPITALS, QuietHours, find_zone
from core.words import say

_LONGEST_WAIT = timedelta(hours=48)
UNKNOWN = "Etc/Unknown"
_BRAZIL = 55
_KALININGRAD = {"Europe/Bucharest": "Europe/Kaliningrad"}
"""phonenumbers names a neighbouring zone that has summer time; Russia has none."""


def after_quiet_hours(moment: datetime, zones: Sequence[ZoneInfo], quiet: QuietHours) -> datetime | None:
    """The first moment from this one on that is outside quiet hours in all zones; None if none comes in two days."""
    found = moment
    while found <= moment + _LONGEST_WAIT:
        waits = [quiet.over_at(local) for zone in zones if quiet.hold((local := found.astimezone(zone)).time())]
        if not waits:
            return found
        # Every end lies ahead. Where a clock is put back over it, the quiet hours come once more.
        found = max(found + timedelta(minutes=1), *waits)
    return None


def time_zones_of(address: Address) -> list[ZoneInfo]:
    """The time zones of a telephone number; empty when the number does not tell, and for mailboxes.

    Several zones only where an area code has people in several, or where a number may be anywhere in North America.
    """
    if address.kind != "phone":
        return []
    try:
        number = phonenumbers.parse(address.value)
    except phonenumbers.NumberParseException:
        return []
    return [zone for name in _zone_names(number) if (zone := find_zone(name)) is not None]


def _zone_names(number: phonenumbers.PhoneNumber) -> Sequence[str]:
    """Brazil by area code; the zones of the place for geographical numbers; else the zone of the country's capital."""
    code, digits = number.country_code or 0, phonenumbers.national_significant_number(number)
    if code == _BRAZIL and digits[:2] in AREA_CODES:
        return [AREA_CODES[digits[:2]]]
    region = phonenumbers.region_code_for_number(number) or phonenumbers.region_code_for_country_code(code)
    local = [name for name in number_zones.time_zones_for_number(number) if name != UNKNOWN]
    if region == "RU":
        local = [_KALININGRAD.get(name, name) for name in local]
    # In North America mobile numbers have area codes like all others, and toll-free ones may ring anywhere.
    has_several = len(TIMEZONE_DATA.get(str(code), ())) > 1
    is_bound = has_several and len(local) == 1 and phonenumbers.is_number_geographical(number)
    if region in ("US", "CA") or is_bound:
        return local
    return [CAPITALS[region]] if region in CAPITALS else []


def next_allowed(moment: datetime, address: Address, home: ZoneInfo, quiet: QuietHours) -> datetime:
    """When an address may be written to: after quiet hours in its own time zone, or else in the tenant's."""
    zones = time_zones_of(address)
    allowed = after_quiet_hours(moment, zones, quiet) if zones else None
    return allowed or after_quiet_hours(moment, [home], quiet) or moment


_TOLERATED = timedelta(minutes=1)
"""A schedule less than this in the past is sent at once, since clocks differ and requests take time."""


class Schedule:
    """Checks a message's schedule against the database's clock, and applies quiet hours to it."""

    def __init__(self, clock: DatabaseClock, zones: TenantZones, quiet_hours: QuietHours) -> None:
        self._clock = clock
        self._zones = zones
        self._quiet_hours = quiet_hours

    async def send_time_of(self, tenant_id: UUID, checked: CheckedDraft) -> datetime | None:
        """The time that replaces the caller's schedule; None to keep it. Raises InvalidInput, Overloaded."""
        draft = checked.draft
        if draft.send_at is None and not draft.respects_quiet_hours:
            return None
        now = await self._clock.now()
        if draft.send_at is not None:
            _check_send_at(draft.send_at, now, checked)
        if not draft.respects_quiet_hours:
            return None
        wanted = max(draft.send_at or now + (draft.send_after or timedelta(0)), now)
        home = await self._zones.of(tenant_id)
        allowed = next_allowed(wanted, checked.address, home, self._quiet_hours)
        return allowed if allowed > wanted else None


def _check_send_at(send_at: datetime, now: datetime, checked: CheckedDraft) -> None:
    path = [*checked.place, "schedule", "at"]
    if send_at < now - _TOLERATED:
        text = say(
            "SCHEDULE_IN_THE_PAST",
            "This time is in the past: it is {now} now. Leave `schedule` out to send at once.",
            now=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        )
        raise InvalidInput(text, path=path, rule=InputRule.IN_THE_PAST)
    if send_at > now + FURTHEST:
        text = say("TOO_FAR_AHEAD", "A message can be scheduled at most {days} days ahead.", days=FURTHEST.days)
        raise InvalidInput(text, path=path, rule=InputRule.OUT_OF_RANGE)
