"""SMTP replies as our errors, and the part of a reply that may be stored in plain text.

A reply may quote anything: the address, the subject, a sentence of the mail, what we signed in with. So it is not
searched for what must not be kept; it is searched for what may.
"""

import re

from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from integrations.smtp import codes
from integrations.smtp.codes import Meaning, Stage

MAX_REDACTED_LENGTH = 500
# At the beginning and nowhere else: 5.1.1 may also be part of an address in the text.
ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")
_WORD = re.compile("[A-Za-z]+")
_KNOWN_WORDS = frozenset(
    """
    a accept accepted access account again allowed and as at authenticated authentication available bad be blacklist
    blacklisted blocked busy cannot certificate closed closing come command complete completed connection connections
    content credentials data delivered delivery denied detected dkim disabled dmarc dns does domain down due encryption
    end error errors exceeded exceeds exist expired failed failure fixed for found from full go greylist greylisted
    greylisting has have header headers host id in inactive input internal invalid is it large later limit line list
    listed load local looks mail mailbox mailboxes maximum maintenance memory message messages mx no not now of ok on or
    out over overloaded password permitted please policy poor protocol queue queued quota rate recipient recipients
    refused reject rejected relay relaying reputation required resources retry security seen sender sending sent
    sequence server service shutdown shutting size slow smtp spam space spf starttls status storage such suspended
    syntax system taken temporarily temporary than the there this timeout tls to too transaction transfer try
    unauthenticated unavailable unexpected unknown unrecognized user users valid verification verify virus was with
    wrong you your
    """.split()  # noqa: SIM905
)


def redacted(code: int, text: str) -> str:
    """The reply with … for every word that not all relays say; the library's -1 is a reply that could not be read."""
    if code < 0:
        return f"no code, {len(text)} characters"
    enhanced = match[0] if (match := ENHANCED.match(text)) else ""
    told = [word if _is_known_word(word) else "…" for word in text[len(enhanced) :].split()]
    shown = [word for word, before in zip(told, ["", *told], strict=False) if (word, before) != ("…", "…")]
    return " ".join(filter(None, [str(code), enhanced, *shown]))[:MAX_REDACTED_LENGTH]


def _is_known_word(word: str) -> bool:
    bare = word.strip(".,:;!?()-")
    return _WORD.fullmatch(bare) is not None and bare.lower() in _KNOWN_WORDS


# SMTP replies as our errors. The meanings of codes are in `codes.py`.


PROVIDER = "smtp"
SERVICE_CLOSING = 421
"""The relay closes the connection after it, whatever it answers."""
_AMBIGUOUS = frozenset({"", "0.0", "1.0", "2.0", "2.1", "2.2", "3.0", "3.2", "4.1", "4.5", "5.0", "5.1", "7.0", "7.1"})
"""Enhanced codes, without their class, that leave open who is meant; "" is none at all."""
_LEFT_TO_THE_BASIC_CODE = frozenset({"", "0.0", "5.0", "5.1"})
_MAY_BE_ABOUT_THE_MESSAGE = frozenset({"2.3", "3.4", "6.7", "6.8", "6.9", "6.10", "7.16"})
"""What even at MAIL, where the size and the need of SMTPUTF8 are told, can be the message's own."""
_MAX_TEXT_READ = 2_000
"""Characters of a reply whose words count; one line has 512 at most. What is behind may be anybody's, of any length."""
_ADDRESSES = re.compile(r"<[^>]*>|(?<!\S)\S*@\S*|https?://\S*")
_LATER = "The relay asks us to come back later."


def provider_error(stage: Stage, code: int, text: str) -> ProviderError:
    """The error a refusal stands for; the relay's own text, which may hold the address, is not repeated."""
    enhanced = _enhanced(text)
    meaning = meaning_of(stage, code, enhanced, text) or _unknown(stage, code)
    return _kind(stage, code, meaning)(
        meaning.message if code >= 500 or "later" in meaning.message else f"{meaning.message} {_LATER}",
        provider=PROVIDER,
        provider_code=_provider_code(code, enhanced),
        reason=meaning.reason,
        party=meaning.party,
        answer=redacted(code, text),
        scope=_scope(stage, code, meaning),
    )


def session_error(code: int, text: str, what: str) -> ProviderError:
    """The error a reply stands for that concerns us and no message, as all do before the first MAIL."""
    is_for_now = code < 500
    words = codes.BASIC[Stage.MAIL][code].message if code in codes.SIGNING_IN else f"The relay refuses {what}."
    return (ProviderUnavailable if is_for_now else ProviderMisconfigured)(
        _LATER if is_for_now else words,
        provider=PROVIDER,
        provider_code=_provider_code(code, _enhanced(text)),
        party=FailureParty.PROVIDER if is_for_now else FailureParty.OPERATOR,
        answer=redacted(code, text),
        scope=FailureScope.PROVIDER,
    )


def _kind(stage: Stage, code: int, meaning: Meaning) -> type[ProviderError]:
    if code < 500:
        return ProviderUnavailable
    is_of_all = stage.names_no_recipient and meaning.party is FailureParty.PROVIDER
    if meaning.party is FailureParty.OPERATOR or is_of_all or meaning.reason is FailureReason.RATE_LIMITED:
        # The relay is repaired, or a limit ends: the same mail may be taken then.
        return ProviderMisconfigured
    return ProviderRejected


def meaning_of(stage: Stage, code: int, enhanced: str | None, text: str) -> Meaning | None:
    """What a refusal means at a stage; None where no table holds it.

    An enhanced code counts for more than the basic one. The words count only where the codes leave open who is meant.
    """
    stage = Stage.MAIL if stage.names_no_recipient else Stage.RCPT if stage is Stage.RCPT else Stage.TEXT
    detail = (enhanced or "").partition(".")[2]
    found = None if code in codes.SIGNING_IN or detail in _AMBIGUOUS else _by_enhanced_code(enhanced or "")
    if found is None:
        found = _by_words(stage, text) or _where_ambiguous(stage, code, enhanced or "")
    if found is None:
        return None
    if stage is Stage.MAIL:
        found = _about_the_sender(found, code, detail)
    return _for_the_moment(found, detail) if code < 500 else found


def _by_enhanced_code(enhanced: str) -> Meaning | None:
    """A code with its class counts for that class alone, one without for both."""
    detail = enhanced.partition(".")[2]
    tables = (codes.GOOGLE, codes.MICROSOFT_BY_CODE, codes.REGISTERED)
    return next((table[key] for table in tables for key in (enhanced, detail) if key in table), None)


def _by_words(stage: Stage, text: str) -> Meaning | None:
    # An address, which the reply may quote, is no word of the relay's.
    words = _ADDRESSES.sub(" ", text[:_MAX_TEXT_READ])
    return next((meaning for said, stages, meaning in codes.PHRASES if stage in stages and said.search(words)), None)


def _where_ambiguous(stage: Stage, code: int, enhanced: str) -> Meaning | None:
    kind, _, detail = enhanced.partition(".")
    basic = codes.BASIC[stage].get(code)
    if code in codes.SIGNING_IN or code == SERVICE_CLOSING or detail in _LEFT_TO_THE_BASIC_CODE:
        return basic or _by_enhanced_code(enhanced)
    if stage is Stage.RCPT and detail in ("7.0", "7.1"):
        # Nothing of the content is known yet: a policy can only be about who we are, or whom the mailbox wants.
        return codes.NOT_WANTED
    # A detail that is not registered: its subject says what it is about.
    return _by_enhanced_code(enhanced) or _by_enhanced_code(f"{kind}.{detail.partition('.')[0]}.0") or basic


def _about_the_sender(meaning: Meaning, code: int, detail: str) -> Meaning:
    """The meaning at MAIL, where the relay knows nothing but who we are and whom the mail is from."""
    if meaning.party in (FailureParty.OPERATOR, FailureParty.PROVIDER) or detail in _MAY_BE_ABOUT_THE_MESSAGE:
        return meaning
    if code < 500 or detail.startswith("4."):
        return codes.BASIC[Stage.MAIL][450]
    if meaning is codes.NO_MAIL:
        return codes.SENDER_DOMAIN
    return codes.ACCOUNT if detail.startswith("2.") else codes.NOT_FROM


def _for_the_moment(meaning: Meaning, detail: str) -> Meaning:
    """The meaning of a refusal that holds for the moment only."""
    if detail == "2.1" and meaning is codes.OFF:
        return codes.BASIC[Stage.RCPT][450]
    if meaning.reason is FailureReason.INVALID_RECIPIENT:
        return codes.NOT_CHECKED
    if meaning.reason is FailureReason.BLOCKED or (meaning is codes.POLICY and detail in ("", "7.0", "7.1")):
        return codes.GREYLISTED
    return meaning


def _unknown(stage: Stage, code: int) -> Meaning:
    party = FailureParty.OPERATOR if stage.names_no_recipient else FailureParty.PROVIDER
    reason = FailureReason.PROVIDER_ERROR if stage.names_no_recipient or code < 500 else FailureReason.OTHER
    what = "us or SMTP_FROM" if stage.names_no_recipient else "the message"
    return Meaning(reason, party, f"The relay refuses {what} with {code}.")


def _scope(stage: Stage, code: int, meaning: Meaning) -> FailureScope:
    """Which mails would have met the same refusal."""
    if meaning.party in (FailureParty.CALLER, FailureParty.RECIPIENT):
        return FailureScope.MESSAGE
    if stage.names_no_recipient:
        return FailureScope.PROVIDER
    if meaning.scope is not None:
        return meaning.scope
    # A refusal of one recipient for the moment: whatever its reason, the next one may be taken.
    is_for_now = SERVICE_CLOSING != code < 500
    if is_for_now and (stage is Stage.RCPT or meaning.reason is FailureReason.RATE_LIMITED):
        return FailureScope.MESSAGE
    return FailureScope.UNCLEAR


def _enhanced(text: str) -> str | None:
    return match[0] if (match := ENHANCED.match(text)) else None


def _provider_code(code: int, enhanced: str | None) -> str | None:
    """What the relay said in digits; the library calls a reply that cannot be read -1."""
    return " ".join(filter(None, (str(code), enhanced))) if code > 0 else None
