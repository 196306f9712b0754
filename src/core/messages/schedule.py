"""When a message may be sent: its caller's schedule and the recipient's quiet hours, by the database's clock."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import timezone as number_zones
from phonenumbers.tzdata import TIMEZONE_DATA

from core.access.tenants import TenantZones
from core.addresses import Address
from core.brazil import AREA_CODES
from core.clock import DatabaseClock
from core.errors import InputRule, InvalidInput
from core.messages.validation import FURTHEST, CheckedDraft
from core.quiet_hours import CAPITALS, QuietHours, find_zone
from core.words import say

_PATIENCE = timedelta(hours=48)
UNKNOWN = "Etc/Unknown"
_BRAZIL = 55
_KALININGRAD = {"Europe/Bucharest": "Europe/Kaliningrad"}
"""phonenumbers names a neighbour's zone there, and for some whole countries, that has summer time; Russia has none."""


def next_calm(moment: datetime, zones: Sequence[ZoneInfo], quiet: QuietHours) -> datetime | None:
    """The first moment from this one on that is in nobody's quiet hours; None when none comes in two days."""
    found = moment
    while found <= moment + _PATIENCE:
        waits = [quiet.over_at(local) for zone in zones if quiet.hold((local := found.astimezone(zone)).time())]
        if not waits:
            return found
        # Each end lies ahead; where a clock is put back over it, the quiet hours come once more and are waited for.
        found = max(found + timedelta(minutes=1), *waits)
    return None


def zones_of(address: Address) -> list[ZoneInfo]:
    """Where a telephone number is at home; empty when its number does not tell, and for mailboxes.

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
    """Brazil by area code; where a number is bound to a place, the zones there; else the country's capital."""
    code, digits = number.country_code or 0, phonenumbers.national_significant_number(number)
    if code == _BRAZIL and digits[:2] in AREA_CODES:
        return [AREA_CODES[digits[:2]]]
    region = phonenumbers.region_code_for_number(number) or phonenumbers.region_code_for_country_code(code)
    local = [name for name in number_zones.time_zones_for_number(number) if name != UNKNOWN]
    if region == "RU":
        local = [_KALININGRAD.get(name, name) for name in local]
    # There mobile numbers have area codes like all others, and toll-free ones may ring anywhere.
    has_several = len(TIMEZONE_DATA.get(str(code), ())) > 1
    is_bound = has_several and len(local) == 1 and phonenumbers.is_number_geographical(number)
    if region in ("US", "CA") or is_bound:
        return local
    return [CAPITALS[region]] if region in CAPITALS else []


def calm_moment(moment: datetime, address: Address, home: ZoneInfo, quiet: QuietHours) -> datetime:
    """When an address may be written to: after the quiet hours where it is at home, else by its sender's own clock."""
    zones = zones_of(address)
    calm = next_calm(moment, zones, quiet) if zones else None
    return calm or next_calm(moment, [home], quiet) or moment


# When a message goes out: its caller's schedule, held against the database's clock and the recipient's night.


_TOLERATED = timedelta(minutes=1)
"""Clocks differ, and requests take a while: what is less than that in the past goes out at once."""


class Schedule:
    """Finds the hour of a message."""

    def __init__(self, clock: DatabaseClock, zones: TenantZones, quiet_hours: QuietHours) -> None:
        self._clock = clock
        self._zones = zones
        self._quiet_hours = quiet_hours

    async def hour_of(self, tenant_id: UUID, checked: CheckedDraft) -> datetime | None:
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


def _check_hour(hour: datetime, now: datetime, checked: CheckedDraft) -> None:
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
