"""When a person may be written to: after the quiet hours, by the clocks of wherever a telephone number can be."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers
from phonenumbers import timezone as number_zones

from core.messages.addresses import Address
from core.quiet_hours import QuietHours

_PATIENCE = timedelta(hours=48)
UNKNOWN = "Etc/Unknown"


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
    """Where a telephone number may be; empty when its number does not tell, and for mailboxes."""
    if address.kind != "phone":
        return []
    try:
        names = number_zones.time_zones_for_number(phonenumbers.parse(address.value))
    except phonenumbers.NumberParseException:
        return []
    return [zone for name in names if name != UNKNOWN and (zone := zone_named(name)) is not None]


def zone_named(name: str) -> ZoneInfo | None:
    """A time zone by its name in the IANA's list; None for one this machine does not know."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def calm_moment(moment: datetime, address: Address, home: ZoneInfo, quiet: QuietHours) -> datetime:
    """When an address may be written to: in nobody's night where it can be, else by its sender's own clock."""
    zones = zones_of(address)
    calm = next_calm(moment, zones, quiet) if zones else None
    return calm or next_calm(moment, [home], quiet) or moment
