"""The errors of the business, one tree.

AppError                      code, message, reason_code, retryable
├─ InvalidInput               the caller must change the input: path, rule
├─ CursorExpired              the changes after this cursor are no longer kept: refetch
├─ Refused                    several of these at once
├─ NotFound                   the id names nothing the caller may see
├─ NotAllowed                 the caller lacks the right, or is not known
│  └─ Unauthenticated         no credentials, or none of ours; InvalidToken says why: core/ports/identity.py
├─ Conflict                   the present state forbids it
│  ├─ InvalidState            the object is not in a state that allows this: state
│  ├─ IdempotencyConflict     the key was used before with other input
│  └─ TemplateNotUsable       the template cannot be sent like this: core/templates/tables.py
├─ NotConfigured              the channel has no integration in this installation
│  └─ NotSimulated            it has a real one, and these credentials reach simulated providers only
├─ QueueFull                  too much waits for the channel already: retry_at
├─ Overloaded                 we cannot take it now; nothing was stored: retry_after
│  └─ CommitUnknown           it may have been stored: repeat it with the same idempotency key
├─ Unreadable                 the value is sealed and cannot be opened here: its field is null
├─ InvalidSignature           a webhook whose signature is missing or wrong
└─ ProviderError              provider, provider_code, reason, party
   ├─ ProviderUnavailable     certainly not done: try later, after retry_after
   ├─ ProviderRejected        refused: never again with this input
   ├─ OutcomeUnknown          perhaps done: ask, or wait for the report; never resend blindly
   └─ ProviderMisconfigured   our account is refused: the operator must act
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from core.words import Sentence, say


class InputRule(StrEnum):
    """The rules an argument can break."""

    REQUIRED = "REQUIRED"
    TOO_SHORT = "TOO_SHORT"
    TOO_LONG = "TOO_LONG"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    NOT_ALLOWED = "NOT_ALLOWED"
    MALFORMED = "MALFORMED"
    IN_THE_PAST = "IN_THE_PAST"


class FailureReason(StrEnum):
    """Why a message does not arrive, in our words for all providers."""

    INVALID_RECIPIENT = "INVALID_RECIPIENT"
    UNREACHABLE = "UNREACHABLE"
    BLOCKED = "BLOCKED"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN"
    CONTENT_REJECTED = "CONTENT_REJECTED"
    TEMPLATE_REJECTED = "TEMPLATE_REJECTED"
    SESSION_WINDOW_CLOSED = "SESSION_WINDOW_CLOSED"
    RATE_LIMITED = "RATE_LIMITED"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    EXPIRED = "EXPIRED"
    OTHER = "OTHER"


class FailureParty(StrEnum):
    """Who can fix a failure."""

    CALLER = "CALLER"
    RECIPIENT = "RECIPIENT"
    OPERATOR = "OPERATOR"
    PROVIDER = "PROVIDER"


class FailureScope(StrEnum):
    """Which calls would have met the same failure, as far as the provider's answer tells."""

    PROVIDER = "PROVIDER"
    """Any call: no connection, refused credentials."""
    UNCLEAR = "UNCLEAR"
    """Perhaps any call, perhaps only those about this recipient or this content."""
    MESSAGE = "MESSAGE"
    """Those about this recipient, this content or this template, and no others: the provider itself works."""
    OURS = "OURS"
    """None: the failure is our own and says nothing about the provider."""


class AppError(Exception):
    """An error that callers or operators are shown; `code` is stable, `message` is for developers."""

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def reason_code(self) -> str:
        """A code more exact than `code`: that of the sentence, where it has one."""
        return self.message.code if isinstance(self.message, Sentence) else self.code


class InvalidInput(AppError):
    """An argument has the right type and the wrong value; `path` leads to it from the mutation's arguments."""

    code = "INVALID_INPUT"

    def __init__(self, message: str, *, path: Sequence[str], rule: InputRule) -> None:
        super().__init__(message)
        self.path = tuple(path)
        self.rule = rule


class CursorExpired(AppError):
    """A subscription cannot continue from this cursor: fetch the data again, and subscribe without it."""

    code = "CURSOR_EXPIRED"


class Unreadable(AppError):
    """A stored value cannot be opened here; `key` is the encryption key that is missing, if one is."""

    code = "VALUE_UNREADABLE"

    def __init__(self, key: str | None) -> None:
        if key is None:
            text = say(
                "VALUE_ALTERED",
                "This value cannot be read: it was altered, or its encryption key is not the right one.",
            )
        else:
            text = say(
                "KEY_MISSING",
                "This value cannot be read: it was encrypted with the key {key}, which this server does not have.",
                key=repr(key),
            )
        super().__init__(text)
        self.key = key


class Refused(AppError):
    """Several things are wrong with one request; nothing was stored."""

    code = "REFUSED"

    def __init__(self, errors: Sequence[AppError]) -> None:
        super().__init__(" ".join(error.message for error in errors))
        self.errors = tuple(errors)


class NotFound(AppError):
    """The id names nothing the caller may see.

    Where one of several arguments names it, `id` is as it was written and `path` leads to it.
    """

    code = "NOT_FOUND"

    def __init__(self, message: str, *, id: str = "", path: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.id = id
        self.path = tuple(path)


class NotAllowed(AppError):
    """The caller is unknown (`UNAUTHENTICATED`) or lacks a right (`FORBIDDEN`)."""

    code = "FORBIDDEN"


class Unauthenticated(NotAllowed):
    """The caller gave no credentials, or credentials that are not valid here."""

    code = "UNAUTHENTICATED"


class Conflict(AppError):
    """The present state forbids it."""

    code = "CONFLICT"


class InvalidState(Conflict):
    """The object is in a state that does not allow this; `state` is as its own enum spells it."""

    code = "INVALID_STATE"

    def __init__(self, message: str, *, state: str) -> None:
        super().__init__(message)
        self.state = state


class IdempotencyConflict(Conflict):
    """The idempotency key, to which `path` leads, was used before with other arguments."""

    code = "IDEMPOTENCY_CONFLICT"

    def __init__(
        self, message: str, *, first_used_at: datetime, path: Sequence[str] = ("input", "idempotencyKey")
    ) -> None:
        super().__init__(message)
        self.first_used_at = first_used_at
        self.path = tuple(path)


class NotConfigured(AppError):
    """The integration that would serve this is not configured; `path` leads to what asked for it."""

    code = "INTEGRATION_NOT_CONFIGURED"

    def __init__(self, message: str, *, integration: str, path: Sequence[str]) -> None:
        super().__init__(message)
        self.integration = integration
        self.path = tuple(path)


class NotSimulated(NotConfigured):
    """The integration that would serve this is not simulated here, and these credentials reach no real provider."""

    code = "INTEGRATION_NOT_SIMULATED"

    def __init__(self, *, integration: str, path: Sequence[str]) -> None:
        message = say(
            "INTEGRATION_NOT_SIMULATED",
            "A test key reaches only simulated providers, and {integration} is not simulated on this server.",
            integration=integration,
        )
        super().__init__(message, integration=integration, path=path)


class QueueFull(AppError):
    """The queue of a channel is full; nothing was stored. `path` leads to the argument that chose the channel."""

    code = "QUEUE_FULL"
    retryable = True

    def __init__(self, message: str, *, integration: str, retry_at: datetime, path: Sequence[str]) -> None:
        super().__init__(message)
        self.integration = integration
        self.retry_at = retry_at
        self.path = tuple(path)


class Overloaded(AppError):
    """The server cannot accept this now and stored nothing; `retry_after` is in seconds."""

    code = "TRY_AGAIN"
    retryable = True

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CommitUnknown(Overloaded):
    """The connection broke during COMMIT: the data may have been stored."""


class InvalidSignature(AppError):
    """A webhook whose signature is missing or wrong."""

    code = "INVALID_SIGNATURE"


class ProviderError(AppError):
    """A provider did not do what we asked; `provider_code` is its own code for the reason.

    `answer` holds the codes and ids of its answer, never text or addresses; None where no answer came. `scope` is for
    the circuit breaker; where it is not given, it follows from the party and the reason.
    """

    code = "PROVIDER_ERROR"

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        provider_code: str | None = None,
        reason: FailureReason = FailureReason.PROVIDER_ERROR,
        party: FailureParty = FailureParty.PROVIDER,
        answer: str | None = None,
        scope: FailureScope | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.provider_code = provider_code
        self.reason = reason
        self.party = party
        self.answer = answer
        self.scope = scope or self._usual_scope()

    def _usual_scope(self) -> FailureScope:
        is_about_one = self.party in (FailureParty.CALLER, FailureParty.RECIPIENT)
        if is_about_one or self.reason is FailureReason.TEMPLATE_REJECTED:
            return FailureScope.MESSAGE
        return FailureScope.UNCLEAR


class ProviderUnavailable(ProviderError):
    """Certainly not done: try later, after `retry_after` seconds where the provider gave them."""

    code = "PROVIDER_UNAVAILABLE"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        provider_code: str | None = None,
        reason: FailureReason = FailureReason.PROVIDER_ERROR,
        party: FailureParty = FailureParty.PROVIDER,
        answer: str | None = None,
        scope: FailureScope | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message,
            provider=provider,
            provider_code=provider_code,
            reason=reason,
            party=party,
            answer=answer,
            scope=scope,
        )
        self.retry_after = retry_after


class ProviderRejected(ProviderError):
    """The provider refused this, and would refuse it again."""

    code = "PROVIDER_REJECTED"


class OutcomeUnknown(ProviderError):
    """Perhaps done: the request left and no readable answer came. Never resend blindly."""

    code = "OUTCOME_UNKNOWN"


class ProviderMisconfigured(ProviderError):
    """The provider refuses our account, not the message: credentials, permissions, credit."""

    code = "PROVIDER_MISCONFIGURED"


def is_cancelling(error: BaseException) -> bool:
    """Whether an error cancels the present task, not only something that the task waited for."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)


class BrokenContribution(Exception):
    """Contributions that do not fit together; the text names them. The process does not start."""
