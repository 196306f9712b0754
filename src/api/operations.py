"""What a client asks to be run, read from a body, a query string or a socket's message; every oddity is a 400."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

from core.words import say


class MalformedRequest(Exception):
    """It cannot be told what is to be run; `code` is stable, `message` is for a developer."""

    def __init__(self, message: str, code: str = "BAD_REQUEST") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """A document, by its text or its SHA-256 or both, and what goes with it."""

    query: str | None
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None
    document_id: str | None = None


_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_body(body: bytes) -> OperationRequest:
    """Read the body of a POST."""
    if not body:
        raise MalformedRequest(say("BODY_EMPTY", "The body is empty; send a JSON object with a 'query'."))
    return read_parameters(read_json(body))


def read_query_string(query_string: bytes) -> OperationRequest:
    """Read the parameters of a GET; an empty one counts as absent."""
    try:
        pairs = parse_qsl(query_string.decode("ascii"), errors="strict", max_num_fields=20)
    except ValueError as error:
        raise MalformedRequest(say("QUERY_STRING_MALFORMED", "The query string is not URL-encoded UTF-8.")) from error
    parameters: dict[str, Any] = dict(pairs)
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = read_json(parameters[name].encode())
    return read_parameters(parameters)


def read_json(text: bytes | str) -> Any:
    """Read JSON; what is not UTF-8, too deep or too large a number is as malformed as a missing brace."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(say("NOT_JSON", "This is not JSON: {reason}", reason=str(error))) from error


def read_parameters(parameters: Any) -> OperationRequest:
    """Check the types of the parameters."""
    if isinstance(parameters, list):
        text = say("BATCHING", "Several operations in one request are not served; send one each.")
        raise MalformedRequest(text, "BATCHING")
    if not isinstance(parameters, dict):
        raise MalformedRequest(say("NO_OBJECT", "Send a JSON object with a 'query'."))
    query = _typed(parameters, "query", str, "a string")
    document_id = _document_id(parameters)
    if query is None and document_id is None:
        raise MalformedRequest(say("QUERY_MISSING", "The parameter 'query' is missing."))
    operation_name = _typed(parameters, "operationName", str, "a string") or None
    return OperationRequest(query, operation_name, _typed(parameters, "variables", dict, "an object"), document_id)


def _document_id(parameters: dict[str, Any]) -> str | None:
    """Read the SHA-256 of a document, in each of the three places where clients put it."""
    extensions = _typed(parameters, "extensions", dict, "an object") or {}
    persisted = _typed(extensions, "persistedQuery", dict, "an object")
    if persisted is None:
        named = _typed(parameters, "documentId", str, "a string") or _typed(parameters, "doc_id", str, "a string")
        return named.removeprefix("sha256:").lower() if named else None
    if persisted.get("version") != 1:
        raise MalformedRequest(say("PERSISTED_QUERY_VERSION", "Of persisted queries, version 1 is served."))
    name = str(persisted.get("sha256Hash")).lower()
    if not _SHA256.fullmatch(name):
        raise MalformedRequest(
            say("PERSISTED_QUERY_HASH", "The 'sha256Hash' of a persisted query must be 64 hexadecimals.")
        )
    return name


def _typed(parameters: dict[str, Any], name: str, kind: type, article: str) -> Any:
    value = parameters.get(name)
    if value is not None and not isinstance(value, kind):
        text = say("PARAMETER_TYPE", "The parameter '{name}' must be {article}.", name=name, article=article)
        raise MalformedRequest(text)
    return value
