"""SMTP's replies in our words.

https://www.rfc-editor.org/rfc/rfc5321#section-4.2, and https://www.rfc-editor.org/rfc/rfc3463 for enhanced codes.
"""

from dataclasses import dataclass

from core.errors import (
    FailureParty,
    FailureReason,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from integrations.smtp.replies import ENHANCED, in_plain

PROVIDER = "smtp"
_REFUSES_US = frozenset({530, 534, 535, 538})


@dataclass(frozen=True, slots=True)
class Meaning:
    """A permanent refusal in our words."""

    reason: FailureReason
    party: FailureParty
    message: str


# By enhanced code, the most particular first.
MEANINGS: dict[str, Meaning] = {
    "5.1.1": Meaning(FailureReason.INVALID_RECIPIENT, FailureParty.RECIPIENT, "There is no such mailbox."),
    "5.1.2": Meaning(FailureReason.INVALID_RECIPIENT, FailureParty.RECIPIENT, "There is no such mail domain."),
    "5.1.10": Meaning(FailureReason.INVALID_RECIPIENT, FailureParty.RECIPIENT, "The domain accepts no mail."),
    "5.1": Meaning(FailureReason.INVALID_RECIPIENT, FailureParty.RECIPIENT, "The address is refused."),
    "5.2.1": Meaning(FailureReason.BLOCKED, FailureParty.RECIPIENT, "The mailbox is switched off."),
    "5.2.2": Meaning(FailureReason.UNREACHABLE, FailureParty.RECIPIENT, "The mailbox is full."),
    "5.3.4": Meaning(FailureReason.CONTENT_REJECTED, FailureParty.CALLER, "The message is too big for the relay."),
    "5.7.1": Meaning(FailureReason.CONTENT_REJECTED, FailureParty.CALLER, "The relay refuses the message by policy."),
    "5.7": Meaning(FailureReason.CONTENT_REJECTED, FailureParty.CALLER, "The relay refuses the message by policy."),
}
# By basic code, for relays that give no enhanced one.
_BASIC: dict[int, str] = {550: "5.1", 551: "5.1", 552: "5.3.4", 553: "5.1", 554: "5.7", 521: "5.1.10", 556: "5.1.10"}


def error_of(code: int, text: str) -> ProviderError:
    """The error a reply stands for; the relay's own text, which may hold the address, is not repeated."""
    if code in _REFUSES_US:
        return refusal_of_us(code, text, "our credentials: see SMTP_USERNAME, SMTP_PASSWORD")
    if code < 500:
        return _later(code, text)
    meaning = _meaning(code, _enhanced(text))
    return ProviderRejected(
        meaning.message,
        provider=PROVIDER,
        provider_code=_provider_code(code, text),
        reason=meaning.reason,
        party=meaning.party,
        answer=in_plain(code, text),
    )


def refusal_of_us(code: int, text: str, what: str) -> ProviderError:
    """The error a reply stands for that concerns us and no message, as all do before the first MAIL."""
    if code < 500:
        return _later(code, text)
    return ProviderMisconfigured(
        f"The relay refuses {what}.",
        provider=PROVIDER,
        provider_code=_provider_code(code, text),
        party=FailureParty.OPERATOR,
        answer=in_plain(code, text),
    )


def _later(code: int, text: str) -> ProviderUnavailable:
    is_mailbox = (_enhanced(text) or "").startswith("4.2.")
    return ProviderUnavailable(
        "The relay asks us to come back later.",
        provider=PROVIDER,
        provider_code=_provider_code(code, text),
        reason=FailureReason.UNREACHABLE if is_mailbox else FailureReason.PROVIDER_ERROR,
        answer=in_plain(code, text),
    )


def _enhanced(text: str) -> str | None:
    return match[0] if (match := ENHANCED.match(text)) else None


def _provider_code(code: int, text: str) -> str | None:
    """What the relay said in digits; the library calls a reply that nobody can read -1."""
    return " ".join(filter(None, (str(code), _enhanced(text)))) if code > 0 else None


def _meaning(code: int, enhanced: str | None) -> Meaning:
    key = enhanced or _BASIC.get(code, "")
    parent = key.rpartition(".")[0]
    unknown = Meaning(FailureReason.OTHER, FailureParty.PROVIDER, f"The relay refuses the message with {code}.")
    return MEANINGS.get(key) or MEANINGS.get(parent) or unknown
