"""When a person may be written to: after the quiet hours, by the clock where a telephone number is at home."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import timezone as number_zones
from phonenumbers.tzdata import TIMEZONE_DATA

from core.brazil import AREA_CODES
from core.messages.addresses import Address
from core.quiet_hours import QuietHours
from core.time_zones import CAPITALS, zone_named

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
    return [zone for name in _zone_names(number) if (zone := zone_named(name)) is not None]


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
