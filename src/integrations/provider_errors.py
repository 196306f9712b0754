"""Error tables shared by Twilio and Meta: a provider's code becomes a reason, a party, a scope and a typed error.

SMTP has a table of its own: there the meaning of a code depends on the command that it answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, TypeVar

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

Code = TypeVar("Code", int, str)
Range = tuple[range, str, FailureParty, FailureReason]
"""Codes that belong together, what they are about, who must act, and the reason of the failure."""


class Kind(StrEnum):
    """Which error an answer becomes; each has its own rule for another attempt."""

    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Meaning:
    """A code in our words.

    `is_passing` if another attempt may succeed after a report that the message failed; `pause` is the least number of
    seconds until another attempt.
    """

    kind: Kind
    reason: FailureReason
    party: FailureParty
    message: str
    scope: FailureScope | None = None
    is_passing: bool = False
    pause: float | None = None


def recipient(reason: FailureReason, message: str) -> Meaning:
    """The recipient cannot receive the message, or does not want it: no other attempt."""
    return Meaning(Kind.REJECTED, reason, FailureParty.RECIPIENT, message, FailureScope.MESSAGE)


def caller(reason: FailureReason, message: str) -> Meaning:
    """The message is wrong: no other attempt without a change."""
    return Meaning(Kind.REJECTED, reason, FailureParty.CALLER, message, FailureScope.MESSAGE)


def misconfigured(
    message: str,
    scope: FailureScope = FailureScope.PROVIDER,
    reason: FailureReason = FailureReason.PROVIDER_ERROR,
) -> Meaning:
    """The operator must act, and the message can wait for that; `scope` says which messages are affected."""
    return Meaning(Kind.MISCONFIGURED, reason, FailureParty.OPERATOR, message, scope)


def unavailable(
    reason: FailureReason, message: str, *, scope: FailureScope | None = None, pause: float | None = None
) -> Meaning:
    """Certainly not done, and it will pass."""
    return Meaning(Kind.UNAVAILABLE, reason, FailureParty.PROVIDER, message, scope, is_passing=True, pause=pause)


def outcome_unknown(message: str) -> Meaning:
    """In an answer: the message may have been accepted. In a report: it was not."""
    return Meaning(Kind.UNKNOWN, FailureReason.PROVIDER_ERROR, FailureParty.PROVIDER, message, is_passing=True)


def rejected(party: FailureParty, message: str, reason: FailureReason = FailureReason.OTHER) -> Meaning:
    """The message is refused, and would be refused again until the operator has acted."""
    return Meaning(Kind.REJECTED, reason, party, message, FailureScope.MESSAGE)


@dataclass(frozen=True, slots=True)
class ErrorTable(Generic[Code]):
    """What a provider's error codes mean, and its HTTP statuses where a code is absent or not in the table.

    `title` is the provider's name in sentences and `base_setting` the setting of its address. `unauthorized` is what a
    refused sign-in means, `forbidden` a missing permission, `not_found` a missing resource. `subcodes` are more exact
    than their code. A code that is in no table and in none of `ranges` is never tried again and never counts against
    the provider.
    """

    provider: str
    title: str
    base_setting: str
    meanings: Mapping[Code, Meaning]
    ranges: Sequence[Range]
    unauthorized: Meaning
    forbidden: Meaning
    not_found: Meaning
    slow_down: Meaning
    server_error: Meaning
    subcodes: Mapping[tuple[Code, Code], Meaning] = field(default_factory=dict)

    def failure(self, code: Code | None) -> Failure:
        """Return what the code of a failed message means; None or an empty code is no reason given."""
        if code is None or code == "":
            return Failure(FailureReason.OTHER, FailureParty.PROVIDER, f"{self.title} gave no reason.")
        found = self.meanings.get(code) or self._unlisted(code)
        return Failure(found.reason, found.party, found.message, str(code), found.is_passing)

    def error(
        self,
        status: int,
        code: Code | None = None,
        subcode: Code | None = None,
        *,
        retry_after: float | None = None,
        answer: str | None = None,
    ) -> ProviderError:
        """Return the error for an answer of this status, with this code in its body; `answer` is what is recorded."""
        name = str(status if code is None else code)
        return provider_error(
            self.provider, name, self._meaning(status, code, subcode), retry_after=retry_after, answer=answer
        )

    def _meaning(self, status: int, code: Code | None, subcode: Code | None) -> Meaning:
        if code is not None:
            known = (self.subcodes.get((code, subcode)) if subcode is not None else None) or self.meanings.get(code)
            if known is not None:
                return known
        return self._of_status(status) or self._unlisted(status if code is None else code)

    def _of_status(self, status: int) -> Meaning | None:
        if status >= 500 or status == 408:
            return self.server_error
        if 300 <= status < 400:
            message = f"{self.title}'s address leads elsewhere: see {self.base_setting}."
            return replace(self.forbidden, message=message)
        if status == 407:
            return replace(self.forbidden, message=f"A proxy stands before {self.title} and refuses us.")
        # A request that was answered with 429 was certainly not processed.
        known = {401: self.unauthorized, 403: self.forbidden, 404: self.not_found, 429: self.slow_down}
        return known.get(status)

    def _unlisted(self, code: int | str) -> Meaning:
        number = int(code) if str(code).isdecimal() else 0
        for codes, subject, party, reason in self.ranges:
            if number in codes:
                return rejected(party, f"{subject} ({self.title}'s code {code}).", reason)
        return rejected(FailureParty.PROVIDER, f"{self.title} refuses with the code {code}.")


_ERRORS: Mapping[Kind, type[ProviderError]] = {
    Kind.REJECTED: ProviderRejected,
    Kind.UNKNOWN: OutcomeUnknown,
    Kind.MISCONFIGURED: ProviderMisconfigured,
}


def provider_error(
    provider: str, code: str, meaning: Meaning, *, retry_after: float | None = None, answer: str | None = None
) -> ProviderError:
    """Return the error that a meaning stands for; `answer` is what of the provider's answer is recorded."""
    if meaning.kind is Kind.UNAVAILABLE:
        return ProviderUnavailable(
            meaning.message,
            provider=provider,
            provider_code=code,
            reason=meaning.reason,
            party=meaning.party,
            answer=answer,
            scope=meaning.scope,
            retry_after=meaning.pause if retry_after is None else retry_after,
        )
    return _ERRORS[meaning.kind](
        meaning.message,
        provider=provider,
        provider_code=code,
        reason=meaning.reason,
        party=meaning.party,
        answer=answer,
        scope=meaning.scope,
    )
