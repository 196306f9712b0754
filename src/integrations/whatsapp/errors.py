"""Meta's error codes in our words. https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes

The code decides; the HTTP status only where the code says nothing. The same codes come in reports of failed messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.ports import Failure

PROVIDER = "whatsapp"


class Kind(StrEnum):
    """What an answer means for another try."""

    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A code in our words; `pause` is how many seconds to wait at least before another try."""

    kind: Kind
    reason: FailureReason
    party: FailureParty
    message: str
    pause: float | None = None


def _recipient(reason: FailureReason, message: str) -> Meaning:
    return Meaning(Kind.REJECTED, reason, FailureParty.RECIPIENT, message)


def _caller(reason: FailureReason, message: str) -> Meaning:
    return Meaning(Kind.REJECTED, reason, FailureParty.CALLER, message)


def _operator(message: str, reason: FailureReason = FailureReason.PROVIDER_ERROR) -> Meaning:
    return Meaning(Kind.MISCONFIGURED, reason, FailureParty.OPERATOR, message)


def _later(message: str, reason: FailureReason = FailureReason.PROVIDER_ERROR, pause: float | None = None) -> Meaning:
    return Meaning(Kind.UNAVAILABLE, reason, FailureParty.PROVIDER, message, pause)


def _limited(party: FailureParty, message: str, *, pause: float) -> Meaning:
    """A limit that concerns this message and its like; nobody else needs to slow down."""
    return Meaning(Kind.UNAVAILABLE, FailureReason.RATE_LIMITED, party, message, pause)


_LIMITED = FailureReason.RATE_LIMITED
_TEMPLATE = FailureReason.TEMPLATE_REJECTED
_CONTENT = FailureReason.CONTENT_REJECTED
_BROKEN = Meaning(Kind.UNKNOWN, FailureReason.PROVIDER_ERROR, FailureParty.PROVIDER, "Meta broke down.")
_NO_PERMISSION = _operator("The access token lacks a permission: it needs whatsapp_business_messaging.")
_NEEDS_A_NUMBER = _caller(FailureReason.INVALID_RECIPIENT, "This needs the person's number; their user id will not do.")

MEANINGS: Mapping[int, Meaning] = {
    0: _operator("Meta does not let us in: see WHATSAPP_ACCESS_TOKEN."),
    1: _later("Meta has a passing trouble."),
    2: _later("Meta is unavailable for the moment."),
    3: _NO_PERMISSION,
    4: _later("The app has called Meta too often.", _LIMITED, pause=60),
    10: _NO_PERMISSION,
    33: _operator("Meta knows no such number: see WHATSAPP_PHONE_NUMBER_ID and what the access token may see."),
    100: _caller(_CONTENT, "Meta does not accept a parameter."),
    190: _operator("The access token has expired or was withdrawn: see WHATSAPP_ACCESS_TOKEN."),
    368: _operator("Meta has blocked the account for breaking its policies."),
    80007: _later("The business account has reached its rate limit.", _LIMITED, pause=60),
    130429: _later("The number sends more messages a second than it may.", _LIMITED),
    130472: _recipient(
        FailureReason.BLOCKED, "Meta keeps marketing from this person: they take part in an experiment."
    ),
    130497: _operator("Meta does not let this account write to the recipient's country."),
    131000: _BROKEN,
    131005: Meaning(Kind.REJECTED, FailureReason.PROVIDER_ERROR, FailureParty.OPERATOR, "Meta denies us this."),
    131008: _caller(_CONTENT, "The message lacks something that Meta requires."),
    131009: _caller(_CONTENT, "A value in the message is not valid."),
    131016: _later("Meta is overloaded."),
    131021: _caller(FailureReason.INVALID_RECIPIENT, "The recipient is the sender's own number."),
    131026: _recipient(
        FailureReason.UNREACHABLE,
        "WhatsApp cannot reach this person: no account, an old app, or our messages are not wanted.",
    ),
    131030: _operator("A test number writes only to the recipients listed under WhatsApp > API setup."),
    131031: _operator("Meta has locked the account."),
    131037: _operator("The number's display name is not approved yet."),
    131042: _operator("There is a problem with the payment for this account."),
    131044: _operator("There is a problem with the payment for this account."),
    131045: _operator("The number is not registered: its certificate is wrong."),
    131047: _caller(
        FailureReason.SESSION_WINDOW_CLOSED, "The person has not written for 24 hours: only a template reaches them."
    ),
    131048: _operator("Meta restricts the number: too many people blocked its messages or called them spam.", _LIMITED),
    131049: _recipient(_LIMITED, "The person has had enough marketing for now: not again before a day has passed."),
    131050: _recipient(FailureReason.CONSENT_WITHDRAWN, "The person has stopped our marketing messages."),
    131051: _caller(_CONTENT, "WhatsApp knows no such type of message."),
    131052: _caller(_CONTENT, "The media the person sent cannot be fetched."),
    131053: _caller(_CONTENT, "The media cannot be uploaded."),
    131056: _limited(FailureParty.RECIPIENT, "Too many messages to this person in a short time.", pause=6),
    131057: _later("The account is under maintenance.", pause=60),
    131062: _NEEDS_A_NUMBER,
    131063: _NEEDS_A_NUMBER,
    132000: _caller(_TEMPLATE, "The template has another number of gaps than was filled."),
    132001: _caller(_TEMPLATE, "There is no such template in this language, or it is not approved."),
    132005: _caller(_TEMPLATE, "The template's text becomes too long once its gaps are filled."),
    132007: _caller(_TEMPLATE, "The template's content breaks WhatsApp's policies."),
    132008: _caller(_TEMPLATE, "What fills the template's gaps is not valid."),
    132012: _caller(_TEMPLATE, "What fills the template's gaps has the wrong form."),
    # Waiting would help nobody: the route's next channel carries the message, or somebody mends the template.
    132015: Meaning(Kind.REJECTED, _TEMPLATE, FailureParty.OPERATOR, "The template is paused since people complained."),
    132016: Meaning(
        Kind.REJECTED,
        _TEMPLATE,
        FailureParty.OPERATOR,
        "The template was paused too often and is disabled for good.",
    ),
    132068: _caller(_TEMPLATE, "The template's flow is blocked."),
    132069: _limited(FailureParty.CALLER, "The template's flow is throttled.", pause=60),
    133004: _later("Meta's server is unavailable for the moment."),
    133010: _operator("The number is not registered with the Cloud API."),
    135000: _caller(FailureReason.OTHER, "Meta refuses the message and gives no reason."),
    137000: _recipient(FailureReason.INVALID_RECIPIENT, "The person's identity has changed: confirm who they are."),
}

_PERMISSIONS = range(200, 300)
# What any message would have met; it opens the circuit at once.
_MET_BY_ALL = frozenset(
    {0, 3, 10, 190, 368, 401, 403, 404, 407, 131031, 131037, 131042, 131044, 131045, 133010, *_PERMISSIONS}
)
# What only some recipients meet (not listed for a test number, another country): it never opens the circuit.
_MET_BY_SOME = frozenset({130497, 131030})
# What an answer means by its status, where its code is not in the table. A 429 was surely not processed.
_BY_STATUS: Mapping[int, Meaning] = {
    401: MEANINGS[0],
    403: _NO_PERMISSION,
    404: _operator("Meta knows no such address: see WHATSAPP_API_BASE and WHATSAPP_API_VERSION."),
    407: _operator("A proxy stands before Meta and refuses us."),
    408: _BROKEN,
    429: _later("Meta asks us to slow down.", _LIMITED),
}
_ELSEWHERE = _operator("Meta's address leads elsewhere: see WHATSAPP_API_BASE.")
_ERRORS: Mapping[Kind, type[ProviderError]] = {
    Kind.REJECTED: ProviderRejected,
    Kind.UNKNOWN: OutcomeUnknown,
    Kind.MISCONFIGURED: ProviderMisconfigured,
}


def failure_of(code: int | None) -> Failure:
    """What the code of a failed message means; None is no reason given."""
    if code is None:
        return Failure(FailureReason.OTHER, FailureParty.PROVIDER, "Meta gave no reason.")
    meaning = _known(code) or _unknown(code)
    # A report says that the message failed for sure: what broke down at Meta may work the next time.
    is_transient = meaning.kind in (Kind.UNAVAILABLE, Kind.UNKNOWN)
    return Failure(meaning.reason, meaning.party, meaning.message, str(code), is_transient)


def error_of(
    status: int, code: int | None = None, *, retry_after: float | None = None, answer: str | None = None
) -> ProviderError:
    """The error to raise for an answer of this status, and this code in its body; `answer` is what of it is kept."""
    meaning = _meaning(status, code)
    told = {
        "provider": PROVIDER,
        "provider_code": str(status if code is None else code),
    }
    scope = _scope(status if code is None or _known(code) is None else code)
    if meaning.kind is Kind.UNAVAILABLE:
        pause = meaning.pause if retry_after is None else retry_after
        return ProviderUnavailable(
            meaning.message,
            **told,
            reason=meaning.reason,
            party=meaning.party,
            answer=answer,
            scope=scope,
            retry_after=pause,
        )
    return _ERRORS[meaning.kind](
        meaning.message, **told, reason=meaning.reason, party=meaning.party, answer=answer, scope=scope
    )


def _scope(code: int) -> FailureScope | None:
    if code in _MET_BY_ALL:
        return FailureScope.PROVIDER
    return FailureScope.MESSAGE if code in _MET_BY_SOME else None


def _meaning(status: int, code: int | None) -> Meaning:
    if code is not None and (known := _known(code)):
        return known
    if status >= 500:
        return _BROKEN
    if 300 <= status < 400:
        return _ELSEWHERE
    return _BY_STATUS.get(status) or _unknown(status if code is None else code)


def _known(code: int) -> Meaning | None:
    return MEANINGS.get(code) or (_NO_PERMISSION if code in _PERMISSIONS else None)


def _unknown(code: int) -> Meaning:
    return Meaning(Kind.REJECTED, FailureReason.OTHER, FailureParty.PROVIDER, f"Meta refuses with the code {code}.")
