"""Errors as clients see them: what a person can mend is data in the payload, the rest has a code at the top level."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import strawberry

from core.errors import (
    AppError,
    IdempotencyConflict,
    InputRule,
    InvalidInput,
    NotConfigured,
    Overloaded,
    QueueFull,
    Refused,
)
from resolvers.context import Info
from resolvers.operations.types import Integration, integration_of


def translate(error: BaseException) -> tuple[str, Mapping[str, Any]] | None:
    """Words and extensions for an error of ours that clients may see at the top level; None for all others."""
    if not isinstance(error, AppError):
        return None
    extensions: dict[str, Any] = {"code": error.code}
    if isinstance(error, InvalidInput):
        extensions |= {"argument": ".".join(error.path), "rule": error.rule.value}
    if isinstance(error, Overloaded):
        extensions["retryAfter"] = error.retry_after
    return error.message, extensions


@strawberry.interface(description="Something the caller can understand and act on.")
class UserError:
    message: str = strawberry.field(description="One sentence for a developer's console, in English.")
    path: list[str] | None = strawberry.field(
        description='Where in the mutation\'s arguments the cause lies: `["input", "to", "phone"]`.'
    )


@strawberry.type(description="An argument has the right type and the wrong value.")
class InvalidInputError(UserError):
    rule: InputRule = strawberry.field(description="Which rule was broken.")


@strawberry.type(description="The idempotency key was used before with other arguments.")
class IdempotencyConflictError(UserError):
    first_used_at: datetime = strawberry.field(description="When the key was first used.")


@strawberry.type(description="The company behind the integration cannot serve us now, or was never configured here.")
class IntegrationUnavailableError(UserError):
    integration: Integration
    retry_at: datetime | None = strawberry.field(
        default=None, description="When to try again; null when only whoever runs this server can change it."
    )


SendMessageError = Annotated[
    InvalidInputError | IntegrationUnavailableError | IdempotencyConflictError,
    strawberry.union("SendMessageError", description="What can be wrong with a message to send."),
]


SendMessagesError = Annotated[
    InvalidInputError | IdempotencyConflictError,
    strawberry.union("SendMessagesError", description="What can be wrong with a batch as a whole."),
]


def user_errors(
    info: Info, error: AppError
) -> list[InvalidInputError | IntegrationUnavailableError | IdempotencyConflictError]:
    """Turn what core refused into the payload's errors; raises what is not the caller's to mend."""
    match error:
        case Refused():
            return [one for inner in error.errors for one in user_errors(info, inner)]
        case InvalidInput():
            return [InvalidInputError(message=error.message, path=list(error.path), rule=error.rule)]
        case NotConfigured() | QueueFull():
            return [_unavailable(info, error)]
        case IdempotencyConflict():
            path = list(error.path)
            return [IdempotencyConflictError(message=error.message, path=path, first_used_at=error.first_used_at)]
        case _:
            raise error


def _unavailable(info: Info, error: NotConfigured | QueueFull) -> IntegrationUnavailableError:
    return IntegrationUnavailableError(
        message=error.message,
        path=list(error.path),
        integration=integration_of(info, error.integration),
        retry_at=error.retry_at if isinstance(error, QueueFull) else None,
    )


def batch_errors(info: Info, error: AppError) -> list[InvalidInputError | IdempotencyConflictError]:
    """The same for what is wrong with a batch as a whole."""
    errors = user_errors(info, error)
    return [one for one in errors if isinstance(one, InvalidInputError | IdempotencyConflictError)]
