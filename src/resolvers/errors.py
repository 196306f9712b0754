"""Errors in GraphQL: errors that a caller can fix are data in the payload; others have a code at the top level."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypedDict

import strawberry

from core.errors import (
    AppError,
    IdempotencyConflict,
    InputRule,
    InvalidInput,
    InvalidState,
    NotConfigured,
    NotFound,
    Overloaded,
    QueueFull,
    Refused,
)
from core.templates.tables import TemplateNotUsable
from resolvers.context import Info
from resolvers.integrations import Integration, integration_of
from resolvers.scalars import URL
from resolvers.templates.types import Template, template_of


def translate(error: BaseException) -> tuple[str, Mapping[str, Any]] | None:
    """Words and extensions for an error of ours that clients may see at the top level; None for all others."""
    if not isinstance(error, AppError):
        return None
    extensions: dict[str, Any] = {"code": error.code}
    if isinstance(error, InvalidInput):
        extensions |= {"argument": ".".join(error.path), "rule": error.rule.value}
    if isinstance(error, NotFound) and error.path:
        extensions["argument"] = ".".join(error.path)
    if isinstance(error, Overloaded):
        extensions["retryAfter"] = error.retry_after
    return error.message, extensions


@strawberry.interface(description="An error that the caller can fix.")
class UserError:
    code: str = strawberry.field(
        description="The exact error code: `PHONE_LACKS_NINTH_DIGIT`. Codes are stable; new ones may be added."
    )
    message: str = strawberry.field(
        description="One sentence in the language of `Accept-Language`: English or Brazilian Portuguese."
    )
    advice: str = strawberry.field(description="What to do about it, in the same language.")
    docs: URL = strawberry.field(description="The documentation page of the code.")
    path: list[str] | None = strawberry.field(
        description='The argument that caused the error: `["input", "to", "phone"]`.'
    )


@strawberry.type(description="An argument has the right type but an invalid value.")
class InvalidInputError(UserError):
    rule: InputRule = strawberry.field(description="Which rule was broken.")


@strawberry.type(description="There is no such object, or you may not see it.")
class NotFoundError(UserError):
    id: strawberry.ID = strawberry.field(description="The id that was given.")


@strawberry.type(description="The object's state does not allow this.")
class InvalidStateError(UserError):
    state: str = strawberry.field(description="Its state: a value of that object's enum.")


@strawberry.type(description="The idempotency key was used before with other arguments.")
class IdempotencyConflictError(UserError):
    first_used_at: datetime = strawberry.field(description="When the key was first used.")


@strawberry.type(
    description="The provider is unavailable or not configured, or it is a real provider and the API key is a test key."
)
class IntegrationUnavailableError(UserError):
    integration: Integration
    retry_at: datetime | None = strawberry.field(
        default=None, description="When to try again. Null if the operator of this server has to act first."
    )


@strawberry.type(description="The template is not approved, is for another channel, or has wrong or missing values.")
class TemplateNotUsableError(UserError):
    template: Template
    missing_variables: list[str] = strawberry.field(description="Required variables without a value.")


AnyOfThem = (
    InvalidInputError | NotFoundError | TemplateNotUsableError | IntegrationUnavailableError | IdempotencyConflictError
)
SendMessageError = Annotated[
    AnyOfThem, strawberry.union("SendMessageError", description="What can be wrong with a message to send.")
]

OperateError = Annotated[
    NotFoundError | InvalidStateError | IntegrationUnavailableError,
    strawberry.union("OperateError", description="What can be wrong with a request of an operator."),
]


SendMessagesError = Annotated[
    InvalidInputError | IdempotencyConflictError,
    strawberry.union("SendMessagesError", description="What can be wrong with a batch as a whole."),
]


class _Words(TypedDict):
    """What every typed error says."""

    code: str
    message: str
    advice: str
    docs: URL
    path: list[str]


def _words(info: Info, error: AppError, path: Sequence[str]) -> _Words:
    told = info.context.services.interpreter.tell(error.reason_code, error.message, info.context.languages, {})
    return _Words(
        code=error.reason_code, message=told.message, advice=told.advice, docs=URL(told.docs), path=list(path)
    )


def not_found_error(info: Info, error: NotFound, id: strawberry.ID, path: Sequence[str]) -> NotFoundError:
    """The error for an id that names nothing the caller may see."""
    return NotFoundError(**_words(info, error, path), id=id)


def operate_error(
    info: Info, error: AppError, id: strawberry.ID, path: Sequence[str]
) -> NotFoundError | InvalidStateError | IntegrationUnavailableError:
    """Turn what core refused about one object into a payload's error; raises what is not the caller's to mend."""
    match error:
        case NotFound():
            return not_found_error(info, error, id, path)
        case InvalidState():
            return InvalidStateError(**_words(info, error, path), state=error.state)
        case NotConfigured():
            integration = integration_of(info, error.integration)
            return IntegrationUnavailableError(**_words(info, error, path), integration=integration)
        case _:
            raise error


def change_errors(
    info: Info, error: AppError, id: strawberry.ID
) -> list[NotFoundError | InvalidStateError | InvalidInputError | IntegrationUnavailableError]:
    """Turn what core refused about the object `input.id` names into a payload's errors; raises what is not theirs."""
    match error:
        case Refused():
            return [one for inner in error.errors for one in change_errors(info, inner, id)]
        case InvalidInput():
            return [InvalidInputError(**_words(info, error, error.path), rule=error.rule)]
        case NotConfigured():
            return [unavailable(info, error)]
        case _:
            return [operate_error(info, error, id, ["input", "id"])]


def user_errors(info: Info, error: AppError) -> list[AnyOfThem]:
    """Turn what core refused into the payload's errors; raises what is not the caller's to mend."""
    if isinstance(error, Refused):
        return [one for inner in error.errors for one in user_errors(info, inner)]
    return [_template_error(info, error) or _user_error(info, error)]


def _user_error(info: Info, error: AppError) -> AnyOfThem:
    match error:
        case InvalidInput():
            return InvalidInputError(**_words(info, error, error.path), rule=error.rule)
        case NotFound():
            return NotFoundError(**_words(info, error, error.path), id=strawberry.ID(error.id))
        case NotConfigured() | QueueFull():
            return unavailable(info, error)
        case IdempotencyConflict():
            return IdempotencyConflictError(**_words(info, error, error.path), first_used_at=error.first_used_at)
        case _:
            raise error


def _template_error(info: Info, error: AppError) -> AnyOfThem | None:
    match error:
        case NotFound():
            return NotFoundError(**_words(info, error, error.path), id=strawberry.ID(error.id))
        case TemplateNotUsable():
            return TemplateNotUsableError(
                **_words(info, error, error.path),
                template=template_of(error.template),
                missing_variables=list(error.missing),
            )
        case _:
            return None


def unavailable(info: Info, error: NotConfigured | QueueFull) -> IntegrationUnavailableError:
    """The error for a provider that cannot serve us."""
    return IntegrationUnavailableError(
        **_words(info, error, error.path),
        integration=integration_of(info, error.integration),
        retry_at=error.retry_at if isinstance(error, QueueFull) else None,
    )


def input_errors(info: Info, refused: Refused) -> list[InvalidInputError]:
    """The same for what is wrong with an input, where nothing else can be."""
    wrong = (one for one in refused.errors if isinstance(one, InvalidInput))
    return [InvalidInputError(**_words(info, one, one.path), rule=one.rule) for one in wrong]


def batch_errors(info: Info, error: AppError) -> list[InvalidInputError | IdempotencyConflictError]:
    """The same for what is wrong with a batch as a whole."""
    errors = user_errors(info, error)
    return [one for one in errors if isinstance(one, InvalidInputError | IdempotencyConflictError)]
