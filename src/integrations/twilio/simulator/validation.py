"""What Twilio refuses, and its errors: numbers, texts and HTTP statuses. https://www.twilio.com/docs/api/errors"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.characters import refused_on_line
from integrations.simulating.provider import Json
from integrations.twilio.simulator.state import VALID_FOR, Account

_ERROR_MESSAGES: dict[int, tuple[int, str]] = {
    20001: (400, "Invalid {value} value."),
    20003: (401, "Authenticate"),
    20007: (400, "Page size must be between 1 and 1000"),
    20404: (404, "The requested resource {value} was not found"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    20501: (501, "The simulator does not know {value}; nothing was sent"),
    20503: (503, "Service Unavailable"),
    21211: (400, "Invalid 'To' Phone Number: {value}"),
    21212: (400, "Invalid From Number (caller ID): {value}"),
    21266: (400, "'To' and 'From' number cannot be the same: {value}"),
    21408: (400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number: {value}"),
    21602: (400, "Message body is required."),
    21603: (400, "A 'From' phone number is required."),
    21604: (400, "A 'To' phone number is required."),
    21606: (
        400,
        "The From phone number {value} is not an SMS-capable number or short code of your account.",
    ),
    21608: (400, "The number {value} is unverified. Trial accounts cannot send messages to unverified numbers"),
    21609: (400, "The 'StatusCallback' URL {value} is not a valid URL."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (400, "This 'From' number has exceeded the maximum number of queued messages"),
    21612: (400, "Message cannot be sent with the current combination of 'To' ({value}) and 'From' parameters"),
    21614: (400, "'To' number is not a valid mobile number: {value}"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
    21701: (400, "The Messaging Service does not exist"),
    21730: (503, "Service is under maintenance"),
}


@dataclass(frozen=True, slots=True)
class TwilioError:
    """One refusal."""

    code: int
    value: str = ""
    status: int | None = None
    text: str | None = None

    @property
    def http_status(self) -> int:
        return self.status or _ERROR_MESSAGES.get(self.code, (400, ""))[0]

    def shown(self) -> Json:
        """The error as Twilio words it."""
        message = self.text or _ERROR_MESSAGES.get(self.code, (400, f"Error {self.code}"))[1].format(value=self.value)
        return {
            "code": self.code,
            "message": message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.http_status,
        }


# What Twilio refuses in a message, in its order of checks.


Form = Mapping[str, str]

BODY_LIMIT = 1600
NOT_SIMULATED = ("MediaUrl", "ContentSid", "SendAt")
"""Parameters that change what is sent: left aside in silence, they would make a test lie."""

_E164 = re.compile(r"\+[1-9]\d{6,14}")
_BRAZILIAN = re.compile(r"\+55[1-9][1-9](9\d{8}|[2-5]\d{7})")
_BRAZILIAN_LANDLINE = re.compile(r"\+55[1-9][1-9][2-5]\d{7}")

# The form of parameters that the simulator leaves aside, as Twilio's published contract has it: what does not fit is
# refused there, so it is here. https://www.twilio.com/docs/messaging/api/message-resource#request-body-parameters
_BOOLEAN, _NUMBER = re.compile("true|false"), re.compile(r"-?[0-9]+([.][0-9]+)?")
_FORMS = {
    "ProvideFeedback": _BOOLEAN,
    "ForceDelivery": _BOOLEAN,
    "SmartEncoded": _BOOLEAN,
    "ShortenUrls": _BOOLEAN,
    "SendAsMms": _BOOLEAN,
    "ContentRetention": re.compile("retain|discard"),
    "AddressRetention": re.compile("retain|obfuscate"),
    "RiskCheck": re.compile("enable|disable"),
    "ScheduleType": re.compile("fixed"),
    "TrafficType": re.compile("free"),
    "MaxPrice": _NUMBER,
    "Attempt": re.compile("-?[0-9]+"),
    "ApplicationSid": re.compile("AP[0-9a-fA-F]{32}"),
}

# The magic numbers. https://www.twilio.com/docs/iam/test-credentials
_MAGIC_FROM = {"+15005550001": 21212, "+15005550007": 21606, "+15005550008": 21611}
_MAGIC_TO = {
    "+15005550001": 21211,
    "+15005550002": 21612,
    "+15005550003": 21408,
    "+15005550004": 21610,
    "+15005550009": 21614,
}


@dataclass(frozen=True, slots=True)
class Sending:
    """A request to send a message: the form, the account, and the numbers that opted out."""

    form: Form
    account: Account
    opted_out: Collection[tuple[str, str]]

    @property
    def to(self) -> str:
        return self.form.get("To", "").strip()

    @property
    def sender(self) -> str:
        """The number it would come from; a messaging service picks the account's own."""
        return self.form.get("From", "").strip() or self.account.number

    @property
    def valid_for(self) -> int | None:
        """Seconds it may wait in the queue; None for anything but a number of seconds up to ten hours."""
        text = self.form.get("ValidityPeriod", str(VALID_FOR))
        return int(text) if re.fullmatch("[1-9][0-9]{0,4}", text) and int(text) <= VALID_FOR else None

    @property
    def service(self) -> str:
        return self.form.get("MessagingServiceSid", "").strip()


def refusal(sending: Sending) -> TwilioError | None:
    """The first thing wrong with a message, if any."""
    return next((error for rule in _RULES if (error := rule(sending))), None)


def _something_is_missing(sending: Sending) -> TwilioError | None:
    form = sending.form
    if not sending.to:
        return TwilioError(21604)
    if not form.get("From", "").strip() and not sending.service:
        return TwilioError(21603)
    if unknown := next((name for name in NOT_SIMULATED if name in form), None):
        return TwilioError(20501, unknown)
    if sending.valid_for is None:
        return TwilioError(20501, f"a ValidityPeriod that is no number from 1 to {VALID_FOR}")
    return None if form.get("Body") else TwilioError(21602)


def _parameter_has_another_form(sending: Sending) -> TwilioError | None:
    given = ((name, form, sending.form[name]) for name, form in _FORMS.items() if name in sending.form)
    wrong = next((name for name, form, value in given if not form.fullmatch(value)), None)
    return TwilioError(20001, wrong) if wrong else None


def _body_is_too_long(sending: Sending) -> TwilioError | None:
    return TwilioError(21617) if len(sending.form["Body"]) > BODY_LIMIT else None


def _callback_is_no_address(sending: Sending) -> TwilioError | None:
    url = sending.form.get("StatusCallback")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        is_fine = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not refused_on_line(url)
        )
    except ValueError:
        is_fine = False
    return None if is_fine and " " not in url else TwilioError(21609, url)


def _sender_is_not_ours(sending: Sending) -> TwilioError | None:
    if sending.service:
        return None if sending.service == sending.account.service else TwilioError(21701)
    if code := _MAGIC_FROM.get(sending.sender):
        return TwilioError(code, sending.sender)
    return None if sending.sender == sending.account.number else TwilioError(21606, sending.sender)


def _recipient_cannot_be(sending: Sending) -> TwilioError | None:
    to = sending.to
    if code := _MAGIC_TO.get(to):
        return TwilioError(code, masked(to))
    if not _E164.fullmatch(to) or (to.startswith("+55") and not _BRAZILIAN.fullmatch(to)):
        return TwilioError(21211, masked(to))
    if _BRAZILIAN_LANDLINE.fullmatch(to):
        return TwilioError(21614, masked(to))
    return TwilioError(21266, masked(to)) if to == sending.sender else None


def _recipient_said_stop(sending: Sending) -> TwilioError | None:
    return TwilioError(21610) if (sending.to, sending.sender) in sending.opted_out else None


_RULES: tuple[Callable[[Sending], TwilioError | None], ...] = (
    _something_is_missing,
    _parameter_has_another_form,
    _body_is_too_long,
    _callback_is_no_address,
    _sender_is_not_ours,
    _recipient_cannot_be,
    _recipient_said_stop,
)


def masked(number: str) -> str:
    """A number as Twilio's errors show it."""
    return f"{number[:-4]}XXXX"
