"""What the GraphQL handlers are given by whoever puts the application together, and what they ask of it together."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from api.http.documents import DocumentStore, OperationRequest, TrustedDocuments
from api.http.exchange import languages_of
from api.http.quotas import Meter, OpenStreams
from core.words import Translator
from engine.engine import Engine
from engine.plan import Refusal, Runnable

LOOK_AGAIN_SECONDS = 2.0


LARGEST_REQUEST = 4 * 1024 * 1024
"""Bytes of a caller's request: an e-mail's 200,000 characters take up to 12 each where JSON escapes them."""
LARGEST_WITHOUT_CREDENTIALS = 262_144
"""Bytes of a request without credentials, which can send nothing."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one socket may do: operations under way at once, and bytes in a message of a caller."""

    operations: int = 100
    frame: int = LARGEST_REQUEST


@dataclass(frozen=True, slots=True)
class Callers:
    """What can be asked about a caller, whatever it is.

    `authenticate` takes a token or None and returns the caller; it raises Unauthenticated for a token nobody here
    believes, and Overloaded where that cannot be told at the moment. `introspection` says whether a caller may read the
    schema. `identity` is equal for callers that are the same and may do the same, `authority` for callers who may be
    shown the same. `expires_at` is when a caller's token ends, in seconds since 1970, or None. `is_believed` says
    whether a caller who was let in earlier would be let in now; it is asked every `look_again` seconds about callers
    of open sockets and streams.
    """

    authenticate: Callable[[str | None], Awaitable[Any]]
    introspection: Callable[[Any], bool]
    identity: Callable[[Any], Hashable]
    authority: Callable[[Any], Hashable]
    expires_at: Callable[[Any], float | None]
    is_believed: Callable[[Any], Awaitable[bool]]
    look_again: float = LOOK_AGAIN_SECONDS

    async def until_refused(self, caller: Callable[[], Any]) -> None:
        """Wait until whoever is the caller by then would not be let in any more."""
        while True:
            await asyncio.sleep(self.look_again)
            if not await self.is_believed(caller()):
                return


@dataclass(frozen=True, slots=True)
class Edge:
    """The engine, who may come in, and what resolvers are told about a caller.

    `make_context` takes caller, request id and the languages the client reads, and is called for every operation.
    `allowed_origins` are those of pages that may call from another site. `presence` counts sockets and streams,
    `meter` what operations cost, `interpreter` says errors. `cookies` are the names of those that may hold a token,
    best first. Once `draining` is set, streams end, so that their clients come again elsewhere.
    """

    engine: Engine
    callers: Callers
    make_context: Callable[[Any, str, Sequence[str]], Any]
    allowed_origins: frozenset[str]
    library: DocumentStore = field(default_factory=lambda: DocumentStore(TrustedDocuments()))
    presence: OpenStreams = field(default_factory=lambda: OpenStreams(100))
    socket_limits: SocketLimits = field(default_factory=SocketLimits)
    cookies: Sequence[str] = ()
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    meter: Meter | None = None
    interpreter: Translator | None = None

    def in_words(self, error: Mapping[str, Any], languages: Sequence[str]) -> Mapping[str, Any]:
        """Say an error that no operation stands behind."""
        return error if self.interpreter is None else self.interpreter.describe(error, languages)

    def language_header(self, accept_language: str | None) -> dict[str, str]:
        """Name the language that errors are said in."""
        known = self.interpreter
        return {} if known is None else {"content-language": known.language(languages_of(accept_language))}

    def authority(self, caller: Any, languages: Sequence[str]) -> Hashable:
        """Say what callers have to have in common to be told the same; None for callers nobody knows."""
        known = self.callers.authority(caller)
        return None if known is None else (known, tuple(languages))

    async def plan(self, request: OperationRequest, caller: Any) -> Runnable | Refusal:
        """Find the document a request is about, make a plan for it and pay; the one way to run anything here."""
        document = await self.library.find(request)
        if isinstance(document, Refusal):
            return document
        plan = self.engine.plan(document, request.operation_name, introspection=self.callers.introspection(caller))
        # Only what can run is kept, and only for callers who can be named if they fill the store.
        if caller is not None and not isinstance(plan, Refusal):
            await self.library.keep(request)
        if self.meter is None or isinstance(plan, Refusal):
            return plan
        return await self.meter.admit(plan, request.variables, caller)
