"""What SMTP's codes mean, as complete tables: the registered enhanced codes, Microsoft's and Google's own, basic ones.

A code means different things at different stages: at MAIL "the address" is our own. So the tables are read for a
stage, and the words of a reply decide only where its code leaves open who is meant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.errors import FailureParty, FailureReason, FailureScope


class Stage(StrEnum):
    """What a reply answers; TEXT is the dot that ends the mail's text."""

    CONNECT = "CONNECT"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    TEXT = "TEXT"

    @property
    def names_no_recipient(self) -> bool:
        """Whether the relay knows nothing of the message yet but who it is from."""
        return self in (Stage.CONNECT, Stage.AUTH, Stage.MAIL)


@dataclass(frozen=True, slots=True)
class Meaning:
    """A refusal in our words; `scope` is given where it does not follow from the party and the stage."""

    reason: FailureReason
    party: FailureParty
    message: str
    scope: FailureScope | None = None


def _recipient(reason: FailureReason, message: str) -> Meaning:
    return Meaning(reason, FailureParty.RECIPIENT, message)


def _content(message: str) -> Meaning:
    return Meaning(FailureReason.CONTENT_REJECTED, FailureParty.CALLER, message)


def _operator(message: str, *, scope: FailureScope | None = None) -> Meaning:
    return Meaning(FailureReason.PROVIDER_ERROR, FailureParty.OPERATOR, message, scope)


def _system(message: str) -> Meaning:
    return Meaning(FailureReason.PROVIDER_ERROR, FailureParty.PROVIDER, message)


def _untrusted(message: str) -> Meaning:
    # One mailbox provider does not trust us; the relay, and other mailbox providers, may.
    return _operator(message, scope=FailureScope.MESSAGE)


_NO_MAILBOX = _recipient(FailureReason.INVALID_RECIPIENT, "There is no such mailbox.")
_NO_DOMAIN = _recipient(FailureReason.INVALID_RECIPIENT, "There is no such mail domain.")
NO_MAIL = _recipient(FailureReason.INVALID_RECIPIENT, "The domain accepts no mail.")
BAD_ADDRESS = _recipient(FailureReason.INVALID_RECIPIENT, "The address is refused.")
_MOVED = _recipient(FailureReason.INVALID_RECIPIENT, "The mailbox has moved, or belongs to another person now.")
OFF = _recipient(FailureReason.BLOCKED, "The mailbox is switched off.")
_FULL = _recipient(FailureReason.UNREACHABLE, "The mailbox is full.")
_BUSY = _recipient(FailureReason.RATE_LIMITED, "The mailbox gets more mail than it may just now.")
_NO_ROUTE = _recipient(FailureReason.UNREACHABLE, "The relay finds no way to the mailbox's server.")
NOT_WANTED = _recipient(FailureReason.BLOCKED, "The mailbox, or its provider, does not accept our mail.")
GREYLISTED = _recipient(
    FailureReason.UNREACHABLE, "The mailbox's server asks us to come back later, as greylisting does."
)
NOT_CHECKED = _recipient(FailureReason.UNREACHABLE, "The relay could not check the address for the moment.")
_NO_UTF8 = _recipient(FailureReason.INVALID_RECIPIENT, "The address needs SMTPUTF8, which is not accepted there.")
_TOO_BIG = _content("The message is too big for the relay.")
_MALFORMED = _content("The relay cannot carry this message's form.")
POLICY = _content("The relay refuses the message by policy.")
_BROKEN = _system("The relay has a fault of its own.")
NOT_FROM = _operator("The relay does not let us send as SMTP_FROM: it must belong to the user of SMTP_USERNAME.")
SENDER_DOMAIN = _operator("The relay does not accept the domain of SMTP_FROM: see its DNS records.")
_SIGN_IN = _operator(
    "The relay wants us to sign in first: set SMTP_USERNAME and SMTP_PASSWORD, and SMTP_TLS to starttls or implicit."
)
_CREDENTIALS = _operator("The relay refuses our credentials: see SMTP_USERNAME, SMTP_PASSWORD.")
_NO_RELAY = _operator("The relay passes nothing on for us: set SMTP_USERNAME, or have this machine's address allowed.")
_CLIENT = _operator(
    "The relay refuses this machine: its address or name is blocked, see what the relay's operator says."
)
_ENCRYPT = _operator("The relay asks for encryption: set SMTP_TLS to starttls or implicit.")
ACCOUNT = _operator("The relay has switched off our account, or it has sent too much: ask the relay's operator.")
_PROTOCOL = _operator(
    "The relay does not understand what we say: see SMTP_HOST and SMTP_PORT, and what stands between."
)
_UNPROVEN = _untrusted("Mail from the domain of SMTP_FROM is not authenticated: see its SPF, DKIM and DMARC records.")
_REVERSE = _untrusted("The address the relay sends from has no matching reverse DNS: ask the relay's operator.")
_REPUTATION = _untrusted("The mailbox's provider blocks the relay's address or our domain: ask the relay's operator.")
_ENCRYPT_ONWARD = _untrusted("The mailbox's server and the relay cannot agree on encryption: ask the relay's operator.")
_LIMIT = Meaning(
    FailureReason.RATE_LIMITED, FailureParty.PROVIDER, "The relay takes no more mail from us for now: see its limits."
)
_FLOOD = Meaning(
    FailureReason.RATE_LIMITED,
    FailureParty.OPERATOR,
    "The mailbox's provider gets too much mail from the relay or from us.",
    FailureScope.MESSAGE,
)

# https://www.iana.org/assignments/smtp-enhanced-status-codes/smtp-enhanced-status-codes.xhtml (RFC 3463, 4468, 4865,
# 4954, 5248, 5321, 6531, 6710, 7293, 7372, 7504, 7505, 8617, 8689), without the class that comes first; as they are
# meant from RCPT on.
REGISTERED: Mapping[str, Meaning] = {
    "0.0": Meaning(FailureReason.OTHER, FailureParty.PROVIDER, "The relay refuses the message and gives no reason."),
    "1.0": BAD_ADDRESS,
    "1.1": _NO_MAILBOX,
    "1.2": _NO_DOMAIN,
    "1.3": _recipient(FailureReason.INVALID_RECIPIENT, "The relay does not take this for an address."),
    "1.4": _recipient(FailureReason.INVALID_RECIPIENT, "The address stands for several mailboxes."),
    "1.5": Meaning(
        FailureReason.OTHER, FailureParty.PROVIDER, "The address is valid, and the relay refuses all the same."
    ),
    "1.6": _MOVED,
    "1.7": _operator("The relay does not take SMTP_FROM for an address."),
    "1.8": SENDER_DOMAIN,
    "1.9": _NO_ROUTE,
    "1.10": NO_MAIL,
    "2.0": _recipient(FailureReason.UNREACHABLE, "The mailbox takes nothing."),
    "2.1": OFF,
    "2.2": _FULL,
    "2.3": _content("The message is longer than the mailbox takes."),
    "2.4": _recipient(FailureReason.UNREACHABLE, "The address is a mailing list that cannot be expanded."),
    "3.0": _BROKEN,
    "3.1": _system("The relay's storage is full."),
    "3.2": _system("The relay takes no mail at present."),
    "3.3": _system("The relay lacks something that the message needs."),
    "3.4": _TOO_BIG,
    "3.5": _system("The relay's configuration is wrong."),
    "3.6": _system("The relay has changed the message's priority."),
    "4.0": _NO_ROUTE,
    "4.1": _NO_ROUTE,
    "4.2": _NO_ROUTE,
    "4.3": _system("The relay cannot reach its directory."),
    "4.4": _NO_ROUTE,
    "4.5": _system("The relay is overloaded."),
    "4.6": _recipient(FailureReason.UNREACHABLE, "Mail to this address goes in a circle."),
    "4.7": _recipient(FailureReason.EXPIRED, "The relay could not pass the message on in time."),
    "5.0": _PROTOCOL,
    "5.1": _PROTOCOL,
    "5.2": _PROTOCOL,
    "5.3": _system("The relay takes fewer recipients than it was given."),
    "5.4": _PROTOCOL,
    "5.5": _PROTOCOL,
    "5.6": _CREDENTIALS,
    "6.0": _MALFORMED,
    "6.1": _MALFORMED,
    "6.2": _MALFORMED,
    "6.3": _MALFORMED,
    "6.4": _MALFORMED,
    "6.5": _MALFORMED,
    "6.6": _MALFORMED,
    "6.7": _NO_UTF8,
    "6.8": _NO_UTF8,
    "6.9": _NO_UTF8,
    "6.10": _NO_UTF8,
    "7.0": POLICY,
    "7.1": POLICY,
    "7.2": _recipient(FailureReason.BLOCKED, "The address is a mailing list to which we may not write."),
    "7.3": _ENCRYPT_ONWARD,
    "7.4": _ENCRYPT,
    "7.5": _ENCRYPT_ONWARD,
    "7.6": _ENCRYPT_ONWARD,
    "7.7": _content("The message was changed on its way."),
    "7.8": _CREDENTIALS,
    "7.9": _operator("The relay wants a stronger way to sign in than it offers us: ask the relay's operator."),
    "7.10": _ENCRYPT,
    "7.11": _ENCRYPT,
    "7.12": _CREDENTIALS,
    "7.13": ACCOUNT,
    "7.14": _operator("The relay does not trust where we sign in from: ask the relay's operator."),
    "7.15": _system("The relay takes only messages of a higher priority."),
    "7.16": _TOO_BIG,
    "7.17": _MOVED,
    "7.18": _MOVED,
    "7.19": _MOVED,
    "7.20": _UNPROVEN,
    "7.21": _UNPROVEN,
    "7.22": _UNPROVEN,
    "7.23": _UNPROVEN,
    "7.24": _UNPROVEN,
    "7.25": _REVERSE,
    "7.26": _UNPROVEN,
    "7.27": _untrusted("The domain of SMTP_FROM takes no mail, or its SPF record does not name the relay."),
    "7.28": _FLOOD,
    "7.29": _UNPROVEN,
    "7.30": _ENCRYPT_ONWARD,
}

# https://learn.microsoft.com/exchange/troubleshoot/email-delivery/ndr/non-delivery-reports-in-exchange-online and, for
# 2.25x, https://learn.microsoft.com/exchange/mail-flow-best-practices/continuous-error-throttling-smtp-auth-submissions.
# What stands in the registry with the same meaning is not repeated. A range ends with the last number it holds; a code
# with its class counts for that class alone.
MICROSOFT: Mapping[str, Meaning] = {
    "0.350": POLICY,
    "1.20": _MALFORMED,
    "1.90": ACCOUNT,
    "2.121": _BUSY,
    "2.122": _BUSY,
    "2.251": ACCOUNT,
    "2.252": NOT_FROM,
    "2.253": ACCOUNT,
    "2.254": ACCOUNT,
    "2.255": ACCOUNT,
    "3.190": _system("Microsoft does not keep journals for this address."),
    "5.4.1": BAD_ADDRESS,
    "4.11": _recipient(FailureReason.UNREACHABLE, "Mail to this address goes in a circle."),
    "4.14": _recipient(FailureReason.UNREACHABLE, "Mail to this address goes in a circle."),
    "4.62": _operator("SMTP_HOST is Microsoft's server of another region: see SMTP_HOST."),
    "4.300": _recipient(FailureReason.EXPIRED, "The relay could not pass the message on in time."),
    "4.310": _NO_DOMAIN,
    "4.312": _NO_ROUTE,
    "4.316": _NO_ROUTE,
    "4.317": _NO_ROUTE,
    "6.11": _content("The message holds characters that the mailbox's server does not take."),
    "7.12": NOT_WANTED,
    "7.54": _NO_RELAY,
    "7.57": _SIGN_IN,
    "7.60": NOT_FROM,
    "7.64": _NO_RELAY,
    "7.124": NOT_WANTED,
    "7.133": NOT_WANTED,
    "7.134": NOT_WANTED,
    "7.135": NOT_WANTED,
    "7.136": NOT_WANTED,
    "7.139": _CREDENTIALS,
    "7.144": _CREDENTIALS,
    "7.232-7.236": ACCOUNT,
    "7.320-7.325": _ENCRYPT_ONWARD,
    "7.367": _NO_RELAY,
    "7.500": _REPUTATION,
    "7.501-7.503": ACCOUNT,
    "7.504": NOT_WANTED,
    "7.505": NOT_WANTED,
    "7.506": _CLIENT,
    "7.507": NOT_WANTED,
    "7.508": _REPUTATION,
    "7.509": _UNPROVEN,
    "7.510": _REPUTATION,
    "7.511": _REPUTATION,
    "7.512": _MALFORMED,
    "7.513": NOT_WANTED,
    "7.515": _UNPROVEN,
    "7.520": NOT_WANTED,
    "7.606-7.649": _REPUTATION,
    "7.650-7.699": _FLOOD,
    "7.700-7.702": ACCOUNT,
    "7.703": NOT_WANTED,
    "7.704-7.750": ACCOUNT,
    "7.850-7.899": _REPUTATION,
}

# https://support.google.com/a/answer/3726730 and https://support.google.com/mail/answer/81126: what differs from the
# registry, or is not in it.
GOOGLE: Mapping[str, Meaning] = {
    "5.4.5": _LIMIT,
    "7.31": _UNPROVEN,
    "7.32": _UNPROVEN,
    "7.40": _UNPROVEN,
    "7.41": _UNPROVEN,
}

# https://www.rfc-editor.org/rfc/rfc5321#section-4.2.3 and 4.3.2, https://www.rfc-editor.org/rfc/rfc4954#section-6,
# https://www.rfc-editor.org/rfc/rfc7504, https://www.rfc-editor.org/rfc/rfc3207: replies without an enhanced code,
# by stage.
_SAME_EVERYWHERE: Mapping[int, Meaning] = {
    421: _system("The relay is closing the connection."),
    422: _CREDENTIALS,
    432: _CREDENTIALS,
    454: _system("The relay cannot check our credentials, or encrypt, for the moment."),
    500: _PROTOCOL,
    502: _PROTOCOL,
    503: _PROTOCOL,
    523: _ENCRYPT,
    524: _ENCRYPT,
    525: ACCOUNT,
    530: _SIGN_IN,
    534: _operator("The relay wants another way to sign in, such as an app password: see SMTP_PASSWORD."),
    535: _CREDENTIALS,
    538: _ENCRYPT,
}
BASIC: Mapping[Stage, Mapping[int, Meaning]] = {
    Stage.MAIL: {
        **_SAME_EVERYWHERE,
        450: _system("The relay takes no mail from us for the moment."),
        451: _BROKEN,
        452: _system("The relay's storage is full."),
        455: _PROTOCOL,
        501: _operator("The relay does not take SMTP_FROM for an address."),
        504: _PROTOCOL,
        521: _CLIENT,
        550: NOT_FROM,
        551: NOT_FROM,
        552: ACCOUNT,
        553: NOT_FROM,
        554: _CLIENT,
        555: _PROTOCOL,
        556: SENDER_DOMAIN,
    },
    Stage.RCPT: {
        **_SAME_EVERYWHERE,
        450: _recipient(FailureReason.UNREACHABLE, "The mailbox takes nothing for the moment."),
        451: _recipient(FailureReason.UNREACHABLE, "The mailbox's server asks us to come back later."),
        452: _FULL,
        455: _recipient(FailureReason.UNREACHABLE, "The mailbox's server asks us to come back later."),
        501: _recipient(FailureReason.INVALID_RECIPIENT, "The relay does not take this for an address."),
        504: _PROTOCOL,
        521: NO_MAIL,
        550: BAD_ADDRESS,
        551: _MOVED,
        552: _FULL,
        553: BAD_ADDRESS,
        554: NOT_WANTED,
        555: _PROTOCOL,
        556: NO_MAIL,
    },
    Stage.TEXT: {
        **_SAME_EVERYWHERE,
        450: _recipient(FailureReason.UNREACHABLE, "The mailbox takes nothing for the moment."),
        451: _BROKEN,
        452: _system("The relay's storage is full."),
        455: _PROTOCOL,
        501: _PROTOCOL,
        504: _PROTOCOL,
        521: _CLIENT,
        550: POLICY,
        551: _MOVED,
        552: _TOO_BIG,
        553: BAD_ADDRESS,
        554: POLICY,
        555: _PROTOCOL,
        556: NO_MAIL,
    },
}

_LATER_STAGES = frozenset({Stage.RCPT, Stage.TEXT})
_ALL_STAGES = frozenset({Stage.MAIL, Stage.RCPT, Stage.TEXT})


def _says(words: str) -> re.Pattern[str]:
    return re.compile(words, re.IGNORECASE)


SIGNING_IN = frozenset({523, 524, 525, 530, 534, 535, 538})
"""Basic codes that say enough by themselves: how we sign in is at fault."""

# What relays say where their code leaves it open, and at which stages it counts; the first that fits is taken.
# Postfix: https://www.postfix.org/postconf.5.html (reject_*, smtpd_relay_restrictions, *_reject_code,
# smtpd_client_*_rate_limit). Exim:
# https://www.exim.org/exim-html-current/doc/html/spec_html/ch-access_control_lists.html. Exchange and Gmail: the pages
# above. Sendmail: cf/README, "ANTI-SPAM CONFIGURATION CONTROL".
PHRASES: tuple[tuple[re.Pattern[str], frozenset[Stage], Meaning], ...] = (
    (_says(r"starttls command first|must issue a starttls|encryption (is )?required"), _ALL_STAGES, _ENCRYPT),
    (_says(r"authentication (is )?required|not authenticated|must authenticate|log ?in first"), _ALL_STAGES, _SIGN_IN),
    (_says(r"auth(enticat\w*)? first|not logged in|invalid credentials for relay"), _ALL_STAGES, _SIGN_IN),
    (
        _says(
            r"not owned by|send ?as ?denied|sender mismatch"
            r"|not (allowed|permitted|authori[sz]ed) to send (as|from|using)"
        ),
        _ALL_STAGES,
        NOT_FROM,
    ),
    (
        _says(r"sender (address )?(rejected|refused|denied|verify failed|not allowed)|mail from .*not allowed"),
        _ALL_STAGES,
        NOT_FROM,
    ),
    (
        _says(r"relay(ing)?( access)? (is )?(denied|not (permitted|allowed)|prohibited)|unable to relay"),
        _ALL_STAGES,
        _NO_RELAY,
    ),
    (_says(r"not permitted to relay|not allowed to relay|mail sending denied"), _ALL_STAGES, _NO_RELAY),
    (
        _says(r"unauthenticated (e-?)?mail|unauthenticated sender|\bdmarc\b|\bdkim\b|\bspf\b|sender policy framework"),
        _ALL_STAGES,
        _UNPROVEN,
    ),
    (
        _says(r"(sending|relay|email|submission|message) (limit|quota|rate)\b.*exceed|exceed\w* .*sending"),
        _ALL_STAGES,
        _LIMIT,
    ),
    (
        _says(r"daily .*(limit|quota)|e-?mail quota exceeded|too many messages|rate limit|slow down"),
        _ALL_STAGES,
        _LIMIT,
    ),
    (
        _says(r"peak smtp relay limit|sender thread limit|unusual rate of|too (much mail|many recipients) from"),
        _ALL_STAGES,
        _LIMIT,
    ),
    (_says(r"receiving mail (too quickly|at a rate)|recipient thread limit"), _LATER_STAGES, _BUSY),
    (
        _says(
            r"client host|helo command rejected|cannot find your (reverse )?hostname"
            r"|blocked using|block ?list|black ?list"
        ),
        _ALL_STAGES,
        _CLIENT,
    ),
    (_says(r"\bis listed\b|banned sending ip|not authori[sz]ed to send email directly"), _ALL_STAGES, _CLIENT),
    (_says(r"storage allocation|quota|mailbox (is )?full|over ?quota|mailbox .*exceeded"), _LATER_STAGES, _FULL),
    (_says(r"storage allocation|quota"), frozenset({Stage.MAIL}), ACCOUNT),
    (_says(r"message (size|too (big|large))|size (limit|exceeds)|too (big|large)"), _ALL_STAGES, _TOO_BIG),
    (
        _says(r"(user|mailbox|recipient|account|address) .*(unknown|not found|does ?n.t exist|unavailable|invalid)"),
        _LATER_STAGES,
        _NO_MAILBOX,
    ),
    (_says(r"(unknown|no such|invalid) (user|mailbox|recipient|local)|user unknown"), _LATER_STAGES, _NO_MAILBOX),
    (_says(r"no valid recipients"), _LATER_STAGES, BAD_ADDRESS),
    (_says(r"(mailbox|account|user) .*(disabled|inactive|suspended)"), _LATER_STAGES, OFF),
    (_says(r"spam|virus|malware|phish|unsolicited|content rejected|message content"), _LATER_STAGES, POLICY),
)


def _one_by_one(table: Mapping[str, Meaning]) -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}
    for name, meaning in table.items():
        first, _, last = name.partition("-")
        subject, _, begin = first.rpartition(".")
        end = last.rpartition(".")[2] or begin
        found.update({f"{subject}.{detail}": meaning for detail in range(int(begin), int(end) + 1)})
    return found


MICROSOFT_BY_CODE = _one_by_one(MICROSOFT)
