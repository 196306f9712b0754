"""Meta's error codes in our words. https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes

The same codes come in answers and in reports of failed messages; the HTTP status counts only where the code says
nothing. The codes of the Graph API, below 1000, are listed at
https://developers.facebook.com/docs/graph-api/guides/error-handling
"""

from collections.abc import Mapping
from dataclasses import replace

from core.errors import FailureParty, FailureReason, FailureScope
from integrations.provider_errors import (
    ErrorTable,
    Kind,
    Meaning,
    Range,
    caller,
    misconfigured,
    outcome_unknown,
    recipient,
    rejected,
    unavailable,
)

_LIMITED, _BROKEN = FailureReason.RATE_LIMITED, FailureReason.PROVIDER_ERROR
_TEMPLATE, _CONTENT = FailureReason.TEMPLATE_REJECTED, FailureReason.CONTENT_REJECTED
_SOME, _UNCLEAR = FailureScope.MESSAGE, FailureScope.UNCLEAR


def _limited(party: FailureParty, message: str, *, pause: float) -> Meaning:
    """A limit for this message and others like it; other messages need not slow down."""
    return Meaning(Kind.UNAVAILABLE, _LIMITED, party, message, _SOME, is_passing=True, pause=pause)


_INVALID_CREDENTIALS = misconfigured("Meta does not let us in: see WHATSAPP_ACCESS_TOKEN.")
_NO_PERMISSION = misconfigured("The access token lacks a permission: it needs whatsapp_business_messaging.")
_SERVER_ERROR = outcome_unknown("Meta broke down.")
_SLOW_DOWN = unavailable(_LIMITED, "Meta asks us to slow down.")
_NEEDS_A_NUMBER = caller(FailureReason.INVALID_RECIPIENT, "This needs the person's number; their user id will not do.")
_ONBOARDING = rejected(FailureParty.OPERATOR, "Setting up the account at Meta was refused.")
_DRAFT = rejected(FailureParty.OPERATOR, "Meta does not accept the template's draft.", _TEMPLATE)

MEANINGS: Mapping[int, Meaning] = {
    0: _INVALID_CREDENTIALS,
    1: unavailable(_BROKEN, "Meta has a passing trouble."),
    2: unavailable(_BROKEN, "Meta is unavailable for the moment."),
    3: _NO_PERMISSION,
    4: unavailable(_LIMITED, "The app has called Meta too often.", pause=60),
    10: _NO_PERMISSION,
    17: unavailable(_LIMITED, "The system user has called Meta too often.", pause=60),
    32: unavailable(_LIMITED, "The app has called Meta too often.", pause=60),
    33: misconfigured("Meta knows no such number: see WHATSAPP_PHONE_NUMBER_ID and what the access token may see."),
    100: caller(_CONTENT, "Meta does not accept a parameter."),
    102: _INVALID_CREDENTIALS,
    104: misconfigured("Meta wants a proof of the app secret: see WHATSAPP_APP_SECRET_PROOF."),
    190: misconfigured("The access token has expired or was withdrawn: see WHATSAPP_ACCESS_TOKEN."),
    **dict.fromkeys(range(200, 300), _NO_PERMISSION),
    341: unavailable(_LIMITED, "The app has called Meta too often.", pause=60),
    368: misconfigured("Meta has blocked the account for breaking its policies."),
    506: caller(_CONTENT, "Meta has just been told the same."),
    613: unavailable(_LIMITED, "The app has called Meta too often.", pause=60),
    80007: unavailable(_LIMITED, "The business account has reached its rate limit.", pause=60),
    80008: unavailable(_LIMITED, "The business account has reached its rate limit.", pause=60),
    130429: unavailable(_LIMITED, "The number sends more messages a second than it may."),
    130472: recipient(FailureReason.BLOCKED, "Meta keeps marketing from this person: they take part in an experiment."),
    130497: misconfigured("Meta does not let this account write to the recipient's country.", _SOME),
    131000: _SERVER_ERROR,
    131005: rejected(FailureParty.OPERATOR, "Meta denies us this.", _BROKEN),
    131008: caller(_CONTENT, "The message lacks something that Meta requires."),
    131009: caller(_CONTENT, "A value in the message is not valid."),
    131016: unavailable(_BROKEN, "Meta is overloaded."),
    131021: caller(FailureReason.INVALID_RECIPIENT, "The recipient is the sender's own number."),
    131026: recipient(
        FailureReason.UNREACHABLE,
        "WhatsApp cannot reach this person: no account, an old app, or our messages are not wanted.",
    ),
    131030: misconfigured("A test number writes only to the recipients listed under WhatsApp > API setup.", _SOME),
    131031: misconfigured("Meta has locked the account."),
    131037: misconfigured("The number's display name is not approved yet."),
    131042: misconfigured("There is a problem with the payment for this account."),
    131043: rejected(FailureParty.PROVIDER, "It waited at Meta for longer than it was valid.", FailureReason.EXPIRED),
    131044: misconfigured("There is a problem with the payment for this account."),
    131045: misconfigured("The number is not registered: its certificate is wrong."),
    131047: caller(
        FailureReason.SESSION_WINDOW_CLOSED, "The person has not written for 24 hours: only a template reaches them."
    ),
    131048: misconfigured(
        "Meta restricts the number: too many people blocked its messages or called them spam.", _UNCLEAR, _LIMITED
    ),
    131049: recipient(_LIMITED, "The person has had enough marketing for now: not again before a day has passed."),
    131050: recipient(FailureReason.CONSENT_WITHDRAWN, "The person has stopped our marketing messages."),
    131051: caller(_CONTENT, "WhatsApp knows no such type of message."),
    131052: caller(_CONTENT, "The media the person sent cannot be fetched."),
    131053: caller(_CONTENT, "The media cannot be uploaded."),
    131055: caller(_TEMPLATE, "Meta takes only marketing templates here."),
    131056: _limited(FailureParty.RECIPIENT, "Too many messages to this person in a short time.", pause=6),
    131057: unavailable(_BROKEN, "The account is under maintenance.", pause=60),
    131058: caller(_TEMPLATE, "Meta's example template goes out only from Meta's test numbers."),
    131060: rejected(FailureParty.PROVIDER, "The message is not available to the Cloud API."),
    **dict.fromkeys([131062, 131063], _NEEDS_A_NUMBER),
    132000: caller(_TEMPLATE, "The template has another number of gaps than was filled."),
    132001: caller(_TEMPLATE, "There is no such template in this language, or it is not approved."),
    132005: caller(_TEMPLATE, "The template's text becomes too long once its gaps are filled."),
    132007: caller(_TEMPLATE, "The template's content breaks WhatsApp's policies."),
    132008: caller(_TEMPLATE, "What fills the template's gaps is not valid."),
    132012: caller(_TEMPLATE, "What fills the template's gaps has the wrong form."),
    # Waiting would not help: the route's next channel carries the message, or the operator corrects the template.
    132015: rejected(FailureParty.OPERATOR, "The template is paused since people complained.", _TEMPLATE),
    132016: rejected(FailureParty.OPERATOR, "The template was paused too often and is disabled for good.", _TEMPLATE),
    132068: caller(_TEMPLATE, "The template's flow is blocked."),
    132069: _limited(FailureParty.CALLER, "The template's flow is throttled.", pause=60),
    133000: misconfigured("The number was not deregistered completely: deregister it again."),
    133004: unavailable(_BROKEN, "Meta's server is unavailable for the moment."),
    **dict.fromkeys(
        [133005, 133006, 133008, 133009], misconfigured("The number's registration needs its PIN or its code.")
    ),
    133010: misconfigured("The number is not registered with the Cloud API."),
    **dict.fromkeys(
        [133015, 133016], misconfigured("The number was registered too often: wait before it is tried again.")
    ),
    134011: misconfigured("The terms of WhatsApp Payments are not accepted.", _SOME),
    134100: caller(_TEMPLATE, "Meta takes only marketing templates here."),
    134101: Meaning(
        Kind.UNAVAILABLE,
        _TEMPLATE,
        FailureParty.CALLER,
        "The template is new, and Meta still makes it ready.",
        _SOME,
        is_passing=True,
        pause=60,
    ),
    134102: rejected(FailureParty.OPERATOR, "The template cannot be used in this way.", _TEMPLATE),
    135000: caller(FailureReason.OTHER, "Meta refuses the message and gives no reason."),
    137000: recipient(FailureReason.INVALID_RECIPIENT, "The person's identity has changed: confirm who they are."),
    **dict.fromkeys(range(138000, 138022), rejected(FailureParty.OPERATOR, "A call by WhatsApp was refused.")),
    **dict.fromkeys([139000, 139001, *range(139100, 139104)], rejected(FailureParty.OPERATOR, "Blocking was refused.")),
    **dict.fromkeys([200005, 200006, 200007], rejected(FailureParty.OPERATOR, "The template has no statistics.")),
    **dict.fromkeys([1752041, 2593079, 2593085, 2593107, 2593108], _ONBOARDING),
    **dict.fromkeys([2388001, 2388012, 2388091, 2388093, 2388103], _ONBOARDING),
    **dict.fromkeys([2388019, 2388040, 2388047, 2388072, 2388073, 2388293, 2388299], _DRAFT),
    2494100: unavailable(_BROKEN, "The number is being changed at Meta.", pause=60),
}

# What an `error_subcode` says more exactly than its code; those that are not here say nothing that we act on.
SUBCODES: Mapping[tuple[int, int], Meaning] = {
    (190, 460): replace(MEANINGS[190], message="The access token ended with a change of password: make a new one."),
    (190, 463): replace(MEANINGS[190], message="The access token has expired: see WHATSAPP_ACCESS_TOKEN."),
    (190, 467): replace(MEANINGS[190], message="The access token was withdrawn: see WHATSAPP_ACCESS_TOKEN."),
}

# What a code that is not in the table is about, by where Meta numbers such codes.
_RANGES: tuple[Range, ...] = (
    (range(132_000, 133_000), "Meta does not accept the template", FailureParty.CALLER, _TEMPLATE),
    (range(134_000, 135_000), "Meta does not accept the template", FailureParty.CALLER, _TEMPLATE),
    (range(133_000, 134_000), "The number's registration is not in order", FailureParty.OPERATOR, _BROKEN),
    (range(136_000, 140_000), "Meta refuses this", FailureParty.OPERATOR, FailureReason.OTHER),
)

PROVIDER = "whatsapp"
ERRORS = ErrorTable(
    PROVIDER,
    "Meta",
    "WHATSAPP_API_BASE",
    MEANINGS,
    _RANGES,
    unauthorized=_INVALID_CREDENTIALS,
    forbidden=_NO_PERMISSION,
    not_found=replace(
        _INVALID_CREDENTIALS, message="Meta knows no such address: see WHATSAPP_API_BASE and WHATSAPP_API_VERSION."
    ),
    slow_down=_SLOW_DOWN,
    server_error=_SERVER_ERROR,
    subcodes=SUBCODES,
)
