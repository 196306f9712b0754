"""Our scalars, including ISO 8601 durations. A value of the wrong type is refused here; core checks the rest."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NewType

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

LONGEST = timedelta(days=3_660)
_WEEKS = re.compile(r"P(\d{1,5})W", re.ASCII)
_PARTS = re.compile(
    r"P(?=.)(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,8})M)?(?:(?P<seconds>\d{1,10}(?:\.\d{1,3})?)S)?)?",
    re.ASCII,
)


def parse_duration(text: str) -> timedelta | None:
    """Read a duration; None for what is none, or is longer than ten years."""
    if weeks := _WEEKS.fullmatch(text):
        found = timedelta(weeks=int(weeks[1]))
    elif parts := _PARTS.fullmatch(text):
        found = timedelta(**{name: float(number) for name, number in parts.groupdict("0").items()})
    else:
        return None
    return found if found <= LONGEST else None


def format_duration(duration: timedelta) -> str:
    """Write a duration in its shortest form, to the millisecond: PT0S, PT1H30M, P1DT0.5S."""
    milliseconds = round(duration / timedelta(milliseconds=1))
    days, milliseconds = divmod(milliseconds, 86_400_000)
    hours, milliseconds = divmod(milliseconds, 3_600_000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds = f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".")
    date = f"{days}D" if days else ""
    clock = (
        (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + (f"{seconds}S" if milliseconds else "")
    )
    if not date and not clock:
        return "PT0S"
    return f"P{date}T{clock}" if clock else f"P{date}"


# Our scalars: a value of the wrong type is refused here; core checks the rest.


_MAX_TEXT = 4096

PhoneNumber = NewType("PhoneNumber", str)
EmailAddress = NewType("EmailAddress", str)
URL = NewType("URL", str)
Locale = NewType("Locale", str)
JSON = NewType("JSON", object)
TimeZone = NewType("TimeZone", str)
CurrencyCode = NewType("CurrencyCode", str)


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise GraphQLError("Write it as a string.")
    if len(value) > _MAX_TEXT:
        raise GraphQLError("It is too long.")
    return value


def _read_moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_read_text(value))
    except ValueError as error:
        raise GraphQLError("Write a moment like 2026-11-23T14:05:00Z.") from error
    if moment.tzinfo is None:
        raise GraphQLError("A moment needs its offset from UTC: 2026-11-23T14:05:00Z.")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise GraphQLError("This moment is outside the calendar.") from error


def _write_moment(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _read_duration(value: Any) -> timedelta:
    if (duration := parse_duration(_read_text(value))) is None:
        raise GraphQLError("Write a duration like PT30M, P1DT12H or P2W, without months and years; at most ten years.")
    return duration


def _text_scalar(name: str, description: str, specified_by: str) -> ScalarDefinition:
    return strawberry.scalar(
        name=name, description=description, specified_by_url=specified_by, serialize=str, parse_value=_read_text
    )


CONFIG = StrawberryConfig(
    relay_max_results=100,
    scalar_map={
        datetime: strawberry.scalar(
            name="DateTime",
            description="A moment in UTC, to the millisecond: `2026-11-23T14:05:00.000Z`.",
            specified_by_url="https://scalars.graphql.org/andimarek/date-time.html",
            serialize=_write_moment,
            parse_value=_read_moment,
        ),
        timedelta: strawberry.scalar(
            name="Duration",
            description="A length of time in ISO 8601, of weeks, days, hours, minutes and seconds: `PT30M`, `P1DT12H`.",
            specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#appendix-A",
            serialize=format_duration,
            parse_value=_read_duration,
        ),
        PhoneNumber: _text_scalar(
            "PhoneNumber",
            "A telephone number in E.164 form: `+4915123456789`.",
            "https://www.itu.int/rec/T-REC-E.164",
        ),
        EmailAddress: _text_scalar(
            "EmailAddress",
            "An e-mail address.",
            "https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address",
        ),
        URL: _text_scalar("URL", "An absolute URL.", "https://url.spec.whatwg.org/"),
        TimeZone: _text_scalar(
            "TimeZone", "An IANA time zone: `America/Sao_Paulo`.", "https://www.iana.org/time-zones"
        ),
        CurrencyCode: _text_scalar(
            "CurrencyCode", "A currency of ISO 4217: `BRL`.", "https://www.iso.org/iso-4217-currency-codes.html"
        ),
        Locale: _text_scalar(
            "Locale", "A BCP 47 language tag: `pt-BR`.", "https://www.rfc-editor.org/rfc/bcp/bcp47.txt"
        ),
        JSON: strawberry.scalar(
            name="JSON",
            description=(
                "Any JSON value. Used only for data whose structure a provider defines; secrets and personal data "
                "are redacted."
            ),
            specified_by_url="https://www.rfc-editor.org/rfc/rfc8259",
            serialize=lambda value: value,
        ),
    },
)
