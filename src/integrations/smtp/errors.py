"""SMTP's replies in our words.

https://www.rfc-editor.org/rfc/rfc5321#section-4.2, and https://www.rfc-editor.org/rfc/rfc3463 for enhanced codes.
"""

import re
from dataclasses import dataclass

from core.errors import (
    FailureParty,
    FailureReason,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)

PROVIDER = "smtp"
_ENHANCED = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
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
    enhanced = match[0] if (match := _ENHANCED.search(text)) else None
    provider_code = f"{code} {enhanced}" if enhanced else str(code)
    if code in _REFUSES_US:
        return ProviderMisconfigured(
            "The relay refuses our credentials: see SMTP_USERNAME and SMTP_PASSWORD.",
            provider=PROVIDER,
            provider_code=provider_code,
            party=FailureParty.OPERATOR,
        )
    if code < 500:
        reason = FailureReason.UNREACHABLE if (enhanced or "").startswith("4.2") else FailureReason.PROVIDER_ERROR
        return ProviderUnavailable(
            "The relay asks us to come back later.", provider=PROVIDER, provider_code=provider_code, reason=reason
        )
    meaning = _meaning(code, enhanced)
    return ProviderRejected(
        meaning.message,
        provider=PROVIDER,
        provider_code=provider_code,
        reason=meaning.reason,
        party=meaning.party,
    )


def _meaning(code: int, enhanced: str | None) -> Meaning:
    key = enhanced or _BASIC.get(code, "")
    parent = key.rpartition(".")[0]
    unknown = Meaning(FailureReason.OTHER, FailureParty.PROVIDER, f"The relay refuses the message with {code}.")
    return MEANINGS.get(key) or MEANINGS.get(parent) or unknown
