"""Twilio's answers: their error codes in our words, their JSON, and what of them may be recorded.

The table holds all that sending a message can meet. Codes from 30000 on mostly come in a status callback, the others in
an answer. Codes of other products (calls, trunks, Verify), and those that Twilio adds later, are read by their range.

https://www.twilio.com/docs/api/errors
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from core.errors import FailureParty, FailureReason, FailureScope, OutcomeUnknown, ProviderError
from integrations.http_client import HttpResponse
from integrations.provider_errors import (
    ErrorTable,
    Meaning,
    Range,
    caller,
    misconfigured,
    outcome_unknown,
    recipient,
    rejected,
    unavailable,
)

_LIMITED, _BROKEN, _BLOCKED = FailureReason.RATE_LIMITED, FailureReason.PROVIDER_ERROR, FailureReason.BLOCKED
_NUMBER, _AWAY, _TEXT = FailureReason.INVALID_RECIPIENT, FailureReason.UNREACHABLE, FailureReason.CONTENT_REJECTED
_SOME, _UNCLEAR = FailureScope.MESSAGE, FailureScope.UNCLEAR


def _request(message: str) -> Meaning:
    """Twilio refuses a parameter of ours: the same message would be refused again."""
    return rejected(FailureParty.OPERATOR, message, _BROKEN)


def _carrier(message: str, reason: FailureReason = FailureReason.OTHER) -> Meaning:
    return rejected(FailureParty.PROVIDER, message, reason)


_CREDENTIALS = misconfigured("Twilio refuses our credentials, or the account is suspended.")
_NOT_FOUND = misconfigured("Twilio knows no such account or resource.")
_FORBIDDEN = misconfigured("Twilio does not permit this to our credentials.")
_SLOW_DOWN = unavailable(_LIMITED, "Twilio asks us to slow down.")
_SERVER_ERROR = outcome_unknown("Twilio broke down.")
_SIGN_IN = misconfigured("Twilio does not accept the token we sign in with: see TWILIO_API_KEY_SID.")
_PARAMETER = _request("Twilio does not accept a parameter of the request.")
_SERVICE = misconfigured("Twilio does not accept the messaging service: see TWILIO_MESSAGING_SERVICE_SID.")
_SENDERS = misconfigured("The messaging service has no sender that reaches this recipient.", _SOME)
_SENDER = misconfigured("The sender's number is not this account's, or cannot send SMS there.", _UNCLEAR)
_REGISTRATION = misconfigured("The sender is not registered with the carriers, or its registration was refused.", _SOME)
_SHORTENING = misconfigured("Twilio's link shortening is not set up: see the domain in Twilio's console.", _SOME)
_SCHEDULING = _request("Twilio does not accept when the message is to be sent.")
_SCREENED = _carrier("Twilio kept the message from this number for the moment.")
_REGULATED = misconfigured("The recipient's country does not admit this message.", _SOME)
_UNKNOWN_SENDER_ID = misconfigured("The recipient's carrier takes only senders that were registered with it.", _SOME)
_CHANNEL = misconfigured("The sender's channel is not set up at Twilio.")
_TEMPLATE = caller(FailureReason.TEMPLATE_REJECTED, "The template does not exist, or does not fit what fills it.")
_MEDIA = caller(_TEXT, "The media cannot be fetched or sent.")
_DAY_IS_USED_UP = unavailable(
    _LIMITED,
    "The number of messages that the carrier takes in a day is used up; it begins anew at midnight in California.",
    scope=_SOME,
    pause=3_600,
)
_NO_PHONE = recipient(_NUMBER, "No phone has this number any more.")

_REQUESTS: Mapping[int, Meaning] = {
    10001: _CREDENTIALS,
    10002: misconfigured("A trial account does not have what this needs.", _SOME),
    14107: unavailable(_LIMITED, "Twilio sends no more messages for the moment."),
    **dict.fromkeys([20001, 20002, 20007, 20009, 20020, 20021, 20023, 20161, 20422], _PARAMETER),
    20003: _CREDENTIALS,
    20004: misconfigured("Twilio's address leads to something else: see TWILIO_API_BASE."),
    20005: misconfigured("The account is not active."),
    20006: _FORBIDDEN,
    20008: misconfigured("These are Twilio's test credentials, which send nothing: see TWILIO_AUTH_TOKEN."),
    20010: misconfigured("Twilio has switched this off for the account."),
    **dict.fromkeys([20011, 20012], misconfigured("Twilio does not accept how the connection is encrypted.")),
    **dict.fromkeys([*range(20101, 20108), *range(20151, 20158), 20159, 20160], _SIGN_IN),
    20162: unavailable(_BROKEN, "Another change of the same resource is under way at Twilio."),
    20403: _FORBIDDEN,
    20404: _NOT_FOUND,
    20409: _request("The message is in another state than the request supposes."),
    20410: misconfigured("Twilio does not offer this any more: see TWILIO_API_BASE."),
    20413: caller(_TEXT, "The message is larger than Twilio takes."),
    20423: _NOT_FOUND,
    20426: misconfigured("Twilio wants a newer protocol than the connection has."),
    20429: _SLOW_DOWN,
    **dict.fromkeys([20500, 20504], _SERVER_ERROR),
    20503: outcome_unknown("Twilio is unavailable."),
    21211: recipient(_NUMBER, "Twilio says that this is no telephone number."),
    21212: misconfigured("The sender's number is not valid: see TWILIO_PHONE_NUMBER."),
    **dict.fromkeys([21214, 21217, 21401, 21421], recipient(_NUMBER, "Twilio says that this is no telephone number.")),
    21265: recipient(_NUMBER, "This is a short code: it receives no messages from us."),
    21266: recipient(_NUMBER, "The recipient is the sender's own number."),
    21267: misconfigured("A trial account cannot send under a name: see TWILIO_PHONE_NUMBER."),
    21268: recipient(_NUMBER, "This is a premium-rate or information number: Twilio sends nothing there."),
    21407: _SENDER,
    21408: misconfigured("Sending to this country is not enabled in Twilio's geo permissions.", _SOME),
    **dict.fromkeys([21470, 21471], _NOT_FOUND),
    21472: misconfigured("The account is not active."),
    21481: _request("Twilio does not accept the page that was asked for."),
    21601: _SENDER,
    21602: caller(_TEXT, "The message has no text."),
    21603: misconfigured("No sender was given: set TWILIO_PHONE_NUMBER or TWILIO_MESSAGING_SERVICE_SID."),
    21604: caller(_NUMBER, "No recipient was given."),
    21605: caller(_TEXT, "The text is longer than 160 characters."),
    21606: _SENDER,
    21607: misconfigured("A trial account sends only from its own number: see TWILIO_PHONE_NUMBER."),
    21608: misconfigured("A trial account sends only to numbers verified in Twilio's console.", _SOME),
    21609: misconfigured("Twilio does not accept our StatusCallback address: see PUBLIC_BASE_URL."),
    21610: recipient(FailureReason.CONSENT_WITHDRAWN, "The recipient has answered STOP to this sender."),
    21611: unavailable(_LIMITED, "The sender's queue at Twilio is full."),
    21612: recipient(_AWAY, "Twilio has no route from our sender to this number."),
    21614: recipient(_NUMBER, "This number cannot receive SMS: it is not a mobile's."),
    21616: misconfigured("The sender's number is several numbers of the account: see TWILIO_PHONE_NUMBER."),
    21617: caller(_TEXT, "The text is longer than 1,600 characters."),
    21618: caller(_TEXT, "Twilio cannot send this text."),
    21619: caller(_TEXT, "The message has no text."),
    **dict.fromkeys([21620, 21623], _MEDIA),
    **dict.fromkeys([21621, 21622], misconfigured("Media are not enabled for this sender or account.", _SOME)),
    **dict.fromkeys([21624, 21626, 21627, 21652, 21653, 21902], _PARAMETER),
    **dict.fromkeys([21613, 21615, *range(21628, 21632), 21634, *range(21644, 21652)], _REGISTRATION),
    21635: recipient(_NUMBER, "This is a landline: it receives no SMS."),
    **dict.fromkeys([21654, 21655, 21656], _TEMPLATE),
    21657: misconfigured("The sender is not valid: see TWILIO_PHONE_NUMBER."),
    21658: caller(_TEXT, "A part of the message is longer than Twilio takes."),
    21659: misconfigured("The sender's number is not Twilio's, or cannot send to the recipient's country.", _UNCLEAR),
    21660: misconfigured("The sender's number is another account's: see TWILIO_PHONE_NUMBER."),
    21661: misconfigured("The sender's number cannot send SMS: see TWILIO_PHONE_NUMBER."),
    21701: misconfigured("The messaging service does not exist: see TWILIO_MESSAGING_SERVICE_SID."),
    21702: misconfigured("The messaging service takes no messages at present: see TWILIO_MESSAGING_SERVICE_SID."),
    21703: _SENDERS,
    21704: misconfigured("The messaging service has no sender: see Messaging > Services in Twilio's console."),
    **dict.fromkeys([21705, 21733], _SERVICE),
    **dict.fromkeys([21708, 21709, 21711, 21715], _SENDERS),
    **dict.fromkeys([21710, 21712, 21713, 21714], _SERVICE),
    **dict.fromkeys([21717, *range(21719, 21730), 21731, 21732, 21736, 21737], _REGISTRATION),
    21730: unavailable(_BROKEN, "Twilio is under maintenance."),
    **dict.fromkeys([21900, 21901], misconfigured("India wants the sender and the text registered (DLT).", _SOME)),
    21910: misconfigured("The sender and the recipient are not of the same channel: see TWILIO_PHONE_NUMBER.", _SOME),
    **dict.fromkeys([35111, 35114, 35115, 35117, 35118, 35126], _SCHEDULING),
    35125: unavailable(_LIMITED, "The account has as many scheduled messages as it may have."),
    **dict.fromkeys([35127, 35132, 35133, 35134], _PARAMETER),
}

_DELIVERIES: Mapping[int, Meaning] = {
    30001: unavailable(_LIMITED, "The queue at Twilio overflowed."),
    30002: misconfigured("The account is suspended."),
    30003: replace(recipient(_AWAY, "The phone is switched off or out of range."), is_passing=True),
    30004: recipient(_BLOCKED, "The recipient or the carrier blocks our messages."),
    30005: _NO_PHONE,
    30006: recipient(_NUMBER, "This is a landline, or its carrier cannot be reached."),
    30007: caller(_TEXT, "The carrier filtered the message as spam."),
    30008: replace(_carrier("The carrier gave no reason."), is_passing=True),
    30009: _carrier("A part of a message to us was lost on the way."),
    30010: rejected(FailureParty.OPERATOR, "The message would have cost more than the limit."),
    30011: recipient(_AWAY, "The recipient's phone or network takes no media."),
    **dict.fromkeys([30012, 30013], _request("Twilio does not accept how long the message is valid.")),
    30014: recipient(_NUMBER, "Twilio says that this is no telephone number."),
    **dict.fromkeys([30015, 30016], misconfigured("The sender's channel does not fit the recipient's.", _SOME)),
    30017: unavailable(_BROKEN, "The carrier's network is congested."),
    **dict.fromkeys([30018, 30024, 30040], _UNKNOWN_SENDER_ID),
    30019: caller(_TEXT, "The message is larger than the carrier takes."),
    **dict.fromkeys([30020, 30021, 30500], outcome_unknown("Twilio broke down over this message.")),
    30022: unavailable(_LIMITED, "The sender writes faster than its campaign may.", scope=_SOME),
    **dict.fromkeys([30023, 30025, 30026, 30027], _DAY_IS_USED_UP),
    **dict.fromkeys(range(30028, 30032), _PARAMETER),
    30032: misconfigured("The sender's toll-free number is not verified.", _SOME),
    30033: misconfigured("The sender's campaign is suspended.", _SOME),
    30034: misconfigured("The sender is not registered for A2P traffic.", _SOME),
    30035: replace(misconfigured("The sender's registration is not finished yet.", _SOME), is_passing=True),
    30036: _carrier("It waited in Twilio's queue for longer than it was valid.", FailureReason.EXPIRED),
    30037: misconfigured("Twilio does not let this account send messages."),
    30038: caller(_TEXT, "Twilio takes the text for a one-time password, and sends none from this account."),
    30039: caller(_TEXT, "Twilio takes the message for an answer of one machine to another."),
    30041: misconfigured("The United Kingdom wants the sender registered.", _SOME),
    30042: misconfigured(
        "The carrier does not take the sender's name: it is too general, or has special characters.", _SOME
    ),
    30043: misconfigured("The message went abroad over a domestic route: the sender does not fit the country.", _SOME),
    30044: misconfigured("A trial account sends only short texts.", _SOME),
    **dict.fromkeys([*range(30100, 30125), *range(30127, 30137)], _SHORTENING),
    **dict.fromkeys([30125, 30126], _REGISTRATION),
    30400: _PARAMETER,
    30404: _NOT_FOUND,
    30409: _request("It cannot be cancelled any more."),
    30410: outcome_unknown("A carrier's gateway did not answer Twilio in time."),
    **dict.fromkeys([30436, 30437, *range(30440, 30450), 30451, 30452, *range(30455, 30481)], _REGISTRATION),
    30450: unavailable(
        _BLOCKED,
        "Twilio's protection against SMS pumping blocks this number for half an hour.",
        scope=_SOME,
        pause=1_800,
    ),
    **dict.fromkeys([30453, 30485], replace(_SCREENED, is_passing=True)),
    30454: unavailable(_LIMITED, "The account has sent as many messages as it may.", pause=3_600),
    **dict.fromkeys([30610, 30615], _REGULATED),
    30620: misconfigured("What the message is for does not fit what its sender is registered for.", _SOME),
    30630: recipient(FailureReason.CONSENT_WITHDRAWN, "The recipient has answered STOP to this sender."),
    **dict.fromkeys([30646, 30647], _request("Twilio could not write down the recipient's consent.")),
    **dict.fromkeys([30701, 30702, 30703, 30712, 30729, 30734, *range(30747, 30759)], _REGISTRATION),
    **dict.fromkeys([*range(30790, 30800), *range(30880, 30910), *range(30990, 30995)], _REGISTRATION),
}

# Errors of WhatsApp, RCS and Messenger through Twilio; a messaging service with an RCS sender meets them, too.
_CHANNELS: Mapping[int, Meaning] = {
    63001: _CHANNEL,
    63002: _CHANNEL,
    63003: recipient(_NUMBER, "The channel knows no such recipient."),
    **dict.fromkeys([63005, 63006, 63021, 63030], caller(_TEXT, "The channel does not accept this content.")),
    **dict.fromkeys([63007, 63008, 63020, 63022], _CHANNEL),
    **dict.fromkeys([63009, 63010, 63011, 63012], outcome_unknown("The channel's provider broke down.")),
    63013: caller(_TEXT, "The channel refuses the message under its policies."),
    63014: recipient(_BLOCKED, "The recipient blocks our messages."),
    **dict.fromkeys([63015, 63035], misconfigured("The sender writes only to invited testers.", _SOME)),
    63016: caller(FailureReason.SESSION_WINDOW_CLOSED, "The person has not written for 24 hours: send a template."),
    **dict.fromkeys([63017, 63018], unavailable(_LIMITED, "The channel asks us to slow down.")),
    **dict.fromkeys([63019, 63025, 63034, 63037, *range(63043, 63046), 63047], _MEDIA),
    63023: replace(_carrier("The channel gave no reason."), is_passing=True),
    63024: recipient(_NUMBER, "The channel knows no such recipient."),
    63026: misconfigured("The channel takes the sender's messages for spam.", _SOME),
    **dict.fromkeys([63027, 63028, 63029, 63040, 63046], _TEMPLATE),
    63031: recipient(_NUMBER, "The recipient is the sender's own number."),
    63032: recipient(_BLOCKED, "WhatsApp keeps the message from this person: they take part in an experiment."),
    63033: recipient(_BLOCKED, "The recipient blocks our messages."),
    63036: recipient(_AWAY, "RCS does not reach this number at present."),
    63038: unavailable(_LIMITED, "The account has sent as many messages as it may in a day.", pause=3_600),
    63039: misconfigured("The channel asks the sender to write less often.", _SOME),
    **dict.fromkeys([63041, 63042, 63052], replace(_TEMPLATE, party=FailureParty.OPERATOR)),
    63049: recipient(_LIMITED, "The person has had enough marketing for now: not again before a day has passed."),
    **dict.fromkeys([63051, *range(63101, 63104), 63105, 63108, 63109, 63111, 63112], _CHANNEL),
    63100: _PARAMETER,
    **dict.fromkeys([63106, 63107], recipient(_AWAY, "RCS does not reach this number.")),
}


def _by_text(tables: Iterable[Mapping[int, Meaning]]) -> Mapping[str, Meaning]:
    return {str(code): meaning for table in tables for code, meaning in table.items()}


MEANINGS: Mapping[str, Meaning] = _by_text([_REQUESTS, _DELIVERIES, _CHANNELS])

_OTHER = FailureReason.OTHER
# What a code that is not in the table is about, by where Twilio numbers such codes.
_RANGES: tuple[Range, ...] = (
    (range(20000, 21000), "Twilio does not accept the request", FailureParty.OPERATOR, _OTHER),
    (range(21700, 21800), "Twilio does not accept the messaging service", FailureParty.OPERATOR, _OTHER),
    (range(21000, 22000), "Twilio does not accept the message", FailureParty.PROVIDER, _OTHER),
    (range(30430, 30450), "The sender's registration is not in order", FailureParty.OPERATOR, _OTHER),
    (range(30455, 30485), "The sender's registration is not in order", FailureParty.OPERATOR, _OTHER),
    (range(30700, 31000), "The sender's registration is not in order", FailureParty.OPERATOR, _OTHER),
    (range(30000, 31000), "The message was not delivered", FailureParty.PROVIDER, _OTHER),
    (range(63000, 64000), "The channel did not take the message", FailureParty.PROVIDER, _OTHER),
)

PROVIDER = "twilio"
ERRORS = ErrorTable(
    PROVIDER,
    "Twilio",
    "TWILIO_API_BASE",
    MEANINGS,
    _RANGES,
    unauthorized=_CREDENTIALS,
    forbidden=_FORBIDDEN,
    not_found=_NOT_FOUND,
    slow_down=_SLOW_DOWN,
    server_error=_SERVER_ERROR,
)

Json = dict[str, Any]

SID = re.compile("(SM|MM)[0-9a-fA-F]{32}")
STATUS = re.compile("[a-z_]{1,32}")
CODE = re.compile("[1-9][0-9]{4}")
# What of an answer may be recorded unsealed: no number, no address and no text of a person has one of these forms.
_RECORDED_FIELDS: Mapping[str, re.Pattern[str]] = {
    "sid": SID,
    "status": re.compile("[a-z_]{1,32}|[1-5][0-9]{2}"),
    "code": CODE,
    "error_code": CODE,
    "num_segments": re.compile("[0-9]{1,2}"),
    "price": re.compile(r"-?[0-9]{1,3}\.[0-9]{1,6}"),
    "price_unit": re.compile("[A-Z]{3}"),
    "more_info": re.compile("https://www[.]twilio[.]com/docs/(api/)?errors/[1-9][0-9]{4}"),
}


def parse_object(answer: HttpResponse) -> Json:
    """Return the JSON object in an answer; an empty one where there is none."""
    try:
        data = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def redacted(answer: HttpResponse) -> str:
    """Return the answer as it may be recorded."""
    return answer.redacted(parse_object(answer), _RECORDED_FIELDS)


def error_from_response(answer: HttpResponse) -> ProviderError:
    """Return the error for an answer; a success that cannot be read leaves the outcome unknown."""
    if answer.status < 300:
        return OutcomeUnknown(
            "Twilio's answer cannot be read.",
            provider=PROVIDER,
            provider_code=str(answer.status),
            answer=redacted(answer),
        )
    code = str(parse_object(answer).get("code"))
    return ERRORS.error(
        answer.status,
        code if CODE.fullmatch(code) else None,
        retry_after=answer.retry_after,
        answer=redacted(answer),
    )
