"""Which document a client asks for: read from the request, trusted, or persisted by its SHA-256."""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.http.metrics import documents
from core.log_throttle import ThrottledLog
from core.settings import Manifest, TrustMode
from core.settings.values import digest
from core.store_faults import fault_fields
from core.words import say
from engine.answer import Outcome
from engine.engine import Room, Shelf
from engine.plan import Refusal


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
        text = say(
            "BATCHING", "This server does not accept several operations in one request. Send each in its own request."
        )
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
        raise MalformedRequest(say("PERSISTED_QUERY_VERSION", "Only version 1 of persisted queries is supported."))
    name = str(persisted.get("sha256Hash")).lower()
    if not _SHA256.fullmatch(name):
        raise MalformedRequest(
            say("PERSISTED_QUERY_HASH", "The 'sha256Hash' of a persisted query must have 64 hexadecimal digits.")
        )
    return name


def _typed(parameters: dict[str, Any], name: str, kind: type, article: str) -> Any:
    value = parameters.get(name)
    if value is not None and not isinstance(value, kind):
        text = say("PARAMETER_TYPE", "The parameter '{name}' must be {article}.", name=name, article=article)
        raise MalformedRequest(text)
    return value


# Trusted documents: the operations of our own frontends, and what happens with all others.


log = structlog.get_logger(__name__)

_MOST_LOGGED = 1_000


class TrustedDocuments:
    """A manifest, and the mode it is applied in."""

    def __init__(self, manifest: Manifest | None = None, mode: TrustMode = TrustMode.OFF) -> None:
        self._documents: Mapping[str, str] = manifest.documents if manifest else {}
        self._mode = mode
        self._logged: set[str] = set()

    @property
    def is_enforced(self) -> bool:
        """Say whether only these documents run."""
        return self._mode is TrustMode.ENFORCE

    def find(self, name: str) -> str | None:
        """Take the document of that SHA-256."""
        return self._documents.get(name)

    def admits(self, document: str) -> bool:
        """Say whether a document that came as text may run; while trust is only logged, note those that would not."""
        if self._mode is TrustMode.OFF:
            return True
        name = digest(document)
        if name in self._documents:
            return True
        documents.labels("untrusted").inc()
        # Each is logged once: the log is read to complete the manifest.
        if name not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(name)
            log.warning("untrusted_document", sha256=name, characters=len(document), refused=self.is_enforced)
        return not self.is_enforced


# Automatic persisted queries: documents that clients registered by SHA-256, in Redis and in this process.
#
# A client that sends an unknown hash is told so, sends the whole query once, and from then on the hash. Nothing
# is
# lost with the store: while Redis is away every hash is simply unknown, unless this process has seen it.


LIFETIME = 7 * 24 * 3600
"""How long a query is kept after it was last looked up, in seconds."""
MOST_QUERIES = 1_000
LONGEST_QUERY = 32_768

_PATIENCE = 0.25
_PREFIX = "interalpha:query:"
_INDEX = "interalpha:queries"
_STRING = '"'


class PersistedQueries:
    """The registered queries; never raises, and never waits long."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._troubles = ThrottledLog()
        self._near: Shelf[str, str] = Shelf(Room(entries=MOST_QUERIES, characters=4_194_304))

    async def find(self, name: str) -> str | None:
        """Take the query of that SHA-256."""
        if near := self._near.find(name):
            return near
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._look_up(name)
                self._troubles.succeeded("persisted_queries_back")
        except (RedisError, OSError, TimeoutError) as error:
            self._troubles.failed("persisted_queries_away", **fault_fields(error))
            documents.labels("store_away").inc()
            return None
        # Other writers of that Redis must not choose what a hash runs.
        if found is None or digest(found) != name:
            return None
        self._near.keep(name, found, len(found))
        return found

    async def keep(self, document: str) -> None:
        """Register a query, and forget the one that was looked up longest ago if there are too many.

        One with strings in it may name a person: it stays in this process, and other processes ask for the whole.
        """
        name = digest(document)
        if len(document) > LONGEST_QUERY or self._near.find(name):
            return
        self._near.keep(name, document, len(document))
        if _STRING in document:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._write(name, document)
        except (RedisError, OSError, TimeoutError) as error:
            self._troubles.failed("persisted_queries_away", **fault_fields(error))

    async def _look_up(self, name: str) -> str | None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.getex(_PREFIX + name, ex=LIFETIME)
            pipeline.zadd(_INDEX, {name: time.time()}, xx=True)
            found, _ = await pipeline.execute()
        return found.decode(errors="replace") if found is not None else None

    async def _write(self, name: str, document: str) -> None:
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(_PREFIX + name, document, ex=LIFETIME)
            pipeline.zadd(_INDEX, {name: time.time()})
            pipeline.zcard(_INDEX)
            *_, count = await pipeline.execute()
        if count > MOST_QUERIES:
            forgotten = await self._redis.zpopmin(_INDEX, count - MOST_QUERIES)
            await self._redis.delete(*(_PREFIX + oldest.decode() for oldest, _ in forgotten))


# From a request to the text of its document, or to the error; the same for HTTP, sockets and SSE.
#
# https://www.apollographql.com/docs/apollo-server/performance/apq#how-it-works says what clients expect of hashes.


# The very words that clients wait for before they send the whole document.
NOT_FOUND = ("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
NOT_SUPPORTED = ("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED")
MISMATCH = ("The SHA-256 is not that of the query.", "PERSISTED_QUERY_HASH_MISMATCH")
NOT_TRUSTED = (
    "This server runs only the documents listed in its manifest of trusted documents, and this one is not listed.",
    "DOCUMENT_NOT_TRUSTED",
)


class DocumentStore:
    """The documents that are known here; without `persisted` none can be registered."""

    def __init__(self, trusted: TrustedDocuments, persisted: PersistedQueries | None = None) -> None:
        self._trusted = trusted
        self._persisted = None if trusted.is_enforced else persisted

    async def find(self, request: OperationRequest) -> str | Refusal:
        """Find what a request wants to be run."""
        name, query = request.document_id, request.query
        if query is not None:
            if name is not None and digest(query) != name:
                return _refusal(*MISMATCH)
            return query if self._trusted.admits(query) else _refusal(*NOT_TRUSTED)
        if name is None:
            return _refusal(*NOT_FOUND)
        if (document := self._trusted.find(name)) is not None:
            documents.labels("trusted").inc()
            return document
        if self._trusted.is_enforced:
            return _refusal(*NOT_TRUSTED)
        if self._persisted is None:
            return _refusal(*NOT_SUPPORTED)
        document = await self._persisted.find(name)
        documents.labels("persisted" if document is not None else "unknown").inc()
        if document is None:
            return _refusal(*NOT_FOUND)
        # Registered by another client, and so no more trusted than if it had come as text.
        self._trusted.admits(document)
        return document

    async def keep(self, request: OperationRequest) -> None:
        """Register the document of a request that asks for it: one that sends the hash along with the text."""
        if self._persisted is not None and request.document_id is not None and request.query is not None:
            await self._persisted.keep(request.query)


def _refusal(message: str, code: str) -> Refusal:
    return Refusal(Outcome.REFUSED, ({"message": message, "extensions": {"code": code}},))
