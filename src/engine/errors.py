"""GraphQL errors as clients receive them: each has a code and a request id; internal errors are masked.

What is said before a resolver runs is about the client's own words and is said openly. What a resolver raises is
shown only if `translate` (given by the layer that knows the business) has words for it; the rest is logged and masked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import structlog
from graphql import GraphQLError

log = structlog.get_logger(__name__)

Translate = Callable[[BaseException], tuple[str, Mapping[str, Any]] | None]
"""Words for an exception a client may see: message and extensions (with `code`); None for all others."""


class ErrorCode(StrEnum):
    """The codes of errors the engine itself finds."""

    SYNTAX = "SYNTAX"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    VALIDATION = "VALIDATION"
    OPERATION = "OPERATION"
    VARIABLES = "VARIABLES"
    EXECUTION = "EXECUTION"
    TIMEOUT = "TIMEOUT"
    INTERNAL = "INTERNAL"


def describe(error: GraphQLError, code: ErrorCode) -> dict[str, Any]:
    """Write an error as the specification wants it; `code` is for errors that bring none of their own."""
    extensions = error.extensions or {}
    return {**error.formatted, "extensions": {"code": code, **extensions}}


@runtime_checkable
class Speaking(Protocol):
    """A context that knows its client's language."""

    def in_words(self, error: Mapping[str, Any]) -> Mapping[str, Any]:
        """Say a described error to this client."""


def finished(error: Mapping[str, Any], request_id: str, context: object) -> Mapping[str, Any]:
    """Add the id to quote to a described error, and say it in the client's language where the context knows it."""
    quoted = {**error, "extensions": {**error["extensions"], "requestId": request_id}}
    return context.in_words(quoted) if isinstance(context, Speaking) else quoted


def masked(error: GraphQLError, request_id: str) -> dict[str, Any]:
    """Say only that it is our fault."""
    hidden = GraphQLError(f"An internal error occurred. Quote {request_id}.", error.nodes, path=error.path)
    return describe(hidden, ErrorCode.INTERNAL)


@dataclass(frozen=True, slots=True)
class ErrorWriter:
    """Describes what resolvers raise, or masks and logs it."""

    translate: Translate

    def write(self, error: GraphQLError, request_id: str, operation: str | None, context: object) -> Mapping[str, Any]:
        """Describe an error of an execution that has begun."""
        cause = root_cause(error)
        if isinstance(cause, GraphQLError):
            described = describe(error, ErrorCode.EXECUTION)
        elif words := self.translate(cause):
            message, extensions = words
            described = {
                **error.formatted,
                "message": message,
                "extensions": {"code": ErrorCode.EXECUTION, **extensions},
            }
        else:
            # Never the variables: they hold addresses and what people say to each other.
            log.error("resolver_failed", request_id=request_id, operation=operation, path=error.path, exc_info=cause)
            described = masked(error, request_id)
        return finished(described, request_id, context)


def root_cause(error: GraphQLError) -> BaseException:
    """Find what was raised first: graphql-core wraps it, and wraps its own errors too when it adds a path."""
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause
