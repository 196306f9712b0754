"""Addresses: telephone numbers, mailboxes and WhatsApp user ids, checked, normalized, and masked."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from core.characters import check_line
from core.errors import InputRule, InvalidInput
from core.ports import Channel
from core.words import Sentence, say

MAX_LENGTH = 320
_WHATSAPP_USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,150}")
_OLD_BRAZILIAN_MOBILE = re.compile(r"\+55([1-9]\d)([6-9]\d{7})")


@dataclass(frozen=True, slots=True)
class Address:
    """A normalized address: a number in E.164 form, a mailbox with a lower-case domain, or a WhatsApp user id."""

    kind: str
    value: str

    @property
    def masked(self) -> str:
        return mask(self.value)

    def serves(self, channel: Channel) -> bool:
        """Whether a channel can reach it."""
        return channel in _REACHED_BY[self.kind]


_REACHED_BY = {
    "phone": frozenset({Channel.SMS, Channel.WHATSAPP}),
    "email": frozenset({Channel.EMAIL}),
    "whatsapp-user": frozenset({Channel.WHATSAPP}),
}


def phone_address(raw: str, *, path: Sequence[str]) -> Address:
    """Read a telephone number with its country code; raises InvalidInput that says what to write instead."""
    check_line(raw, path)
    if len(raw) > MAX_LENGTH:
        text = say("PHONE_TOO_LONG", "The telephone number is too long.")
        raise InvalidInput(text, path=path, rule=InputRule.TOO_LONG)
    try:
        number = phonenumbers.parse(raw.strip(), None)
    except phonenumbers.NumberParseException as error:
        raise InvalidInput(_no_number(raw), path=path, rule=InputRule.MALFORMED) from error
    value = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if phonenumbers.is_valid_number(number):
        return Address("phone", value)
    if old := _OLD_BRAZILIAN_MOBILE.fullmatch(value):
        raise InvalidInput(
            say(
                "PHONE_LACKS_NINTH_DIGIT",
                "{number} lacks the 9 that Brazilian mobile numbers begin with. Did you mean {suggestion}?",
                number=value,
                suggestion=f"+55{old[1]}9{old[2]}",
            ),
            path=path,
            rule=InputRule.MALFORMED,
        )
    text = say(
        "PHONE_INVALID",
        "The number {number} is not a valid telephone number. Check its length and area code.",
        number=value,
    )
    raise InvalidInput(text, path=path, rule=InputRule.MALFORMED)


def _no_number(raw: str) -> Sentence:
    """Suggest the Brazilian number that one without a country code may stand for."""
    example = say(
        "PHONE_MALFORMED",
        "This is not a telephone number with its country code. Write it like +5511987654321.",
    )
    try:
        local = phonenumbers.parse(raw.strip(), "BR")
    except phonenumbers.NumberParseException:
        return example
    if not phonenumbers.is_valid_number(local):
        return example
    return say(
        "PHONE_LACKS_COUNTRY",
        "This is not a telephone number with its country code. Did you mean {suggestion}?",
        suggestion=phonenumbers.format_number(local, phonenumbers.PhoneNumberFormat.E164),
    )


def email_address(raw: str, *, path: Sequence[str]) -> Address:
    """Read one mailbox, without a look-up on the network; raises InvalidInput."""
    check_line(raw, path)
    if len(raw) > MAX_LENGTH:
        text = say("EMAIL_TOO_LONG", "The e-mail address is too long.")
        raise InvalidInput(text, path=path, rule=InputRule.TOO_LONG)
    try:
        found = validate_email(raw.strip(" "), check_deliverability=False, allow_smtputf8=True)
    except EmailNotValidError as error:
        raise InvalidInput(
            say(
                "EMAIL_MALFORMED",
                "This is not one e-mail address: {reason} Write it like ana@example.com.",
                reason=str(error),
            ),
            path=path,
            rule=InputRule.MALFORMED,
        ) from error
    return Address("email", found.normalized)


def whatsapp_user_address(raw: str, *, path: Sequence[str]) -> Address:
    """Read the id by which WhatsApp names a person to one business; raises InvalidInput."""
    check_line(raw, path)
    if not _WHATSAPP_USER_ID.fullmatch(raw.strip(" ")):
        raise InvalidInput(
            say(
                "WHATSAPP_USER_MALFORMED",
                (
                    "This is not a WhatsApp user id. One looks like BR.13491208655302741918: two capital letters, "
                    "a dot, then letters or digits. The field `from` of a message from the person contains it."
                ),
            ),
            path=path,
            rule=InputRule.MALFORMED,
        )
    return Address("whatsapp-user", raw.strip(" "))


def known_address(raw: str) -> Address:
    """Read an address that a provider reports or that is stored; never refused, since it exists."""
    value = raw.strip()[:MAX_LENGTH]
    if _WHATSAPP_USER_ID.fullmatch(value):
        return Address("whatsapp-user", value)
    return Address("email" if "@" in value else "phone", value)


def lookup_form(value: str) -> str:
    """The form of an address for look-ups: mailboxes are compared without case."""
    return value.lower() if "@" in value else value


def mask(value: str) -> str:
    """Show enough of an address to recognise it: `+55 11 9••••-4321`, `a••@example.com`, `BR.••••1918`."""
    if "@" in value:
        name, _, domain = value.rpartition("@")
        return f"{name[:1]}••@{domain}"
    if brazilian := re.fullmatch(r"\+55(\d\d)(\d?)\d{4}(\d{4})", value):
        return f"+55 {brazilian[1]} {brazilian[2]}••••-{brazilian[3]}"
    if _WHATSAPP_USER_ID.fullmatch(value):
        # Of a short id only the country is shown: four more characters would be most of it.
        return f"{value[:3]}••••{value[-4:] if len(value) > 11 else ''}"
    if len(value) > 8:
        return f"{value[:3]} •••• {value[-4:]}"
    return "••••"
