"""What HTTP requests, sockets and streams share: the way from a caller's request to a plan that may run."""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from api.http.auth import Authenticator, permissions_of
from api.http.documents import DocumentStore, OperationRequest, TrustedDocuments
from api.http.exchange import languages_of
from api.http.quotas import Admission, Meter, OpenStreams
from core.ports.identity import Principal
from core.rate_limit import BudgetResult
from core.words import Translator
from engine.engine import Engine
from engine.plan import Refusal

LARGEST_REQUEST = 4 * 1024 * 1024
"""Bytes of a caller's request: an e-mail's 200,000 characters take up to 12 each where JSON escapes them."""
LARGEST_WITHOUT_CREDENTIALS = 262_144
"""Bytes of a request without credentials, which can send nothing."""

ContextFactory = Callable[[Principal | None, str, Sequence[str], BudgetResult | None], Any]
"""Makes the context of one operation from caller, request id, the client's languages and the points that are left."""


class SchemaAccess(StrEnum):
    """Who may read the schema by introspection."""

    EVERYONE = "EVERYONE"
    CALLERS = "CALLERS"
    NOBODY = "NOBODY"

    def allows(self, caller: Principal | None) -> bool:
        """Whether a caller may read the schema; None is one without credentials."""
        return self is SchemaAccess.EVERYONE or (self is SchemaAccess.CALLERS and caller is not None)


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Limits of one socket: concurrent operations, and bytes in a message from a caller with credentials."""

    operations: int = 100
    frame: int = LARGEST_REQUEST


@dataclass(frozen=True, slots=True)
class Edge:
    """Everything the GraphQL handlers need.

    Pages from `allowed_origins` may call from another site. `cookies` are the names of cookies that may hold a token,
    best first. Once `draining` is set, streams end, so that clients reconnect to another process. Without a `meter`
    operations cost nothing; without an `interpreter` errors stay in English.
    """

    engine: Engine
    authenticator: Authenticator
    make_context: ContextFactory
    allowed_origins: frozenset[str]
    schema_access: SchemaAccess = SchemaAccess.NOBODY
    documents: DocumentStore = field(default_factory=lambda: DocumentStore(TrustedDocuments()))
    streams: OpenStreams = field(default_factory=lambda: OpenStreams(100))
    socket_limits: SocketLimits = field(default_factory=SocketLimits)
    cookies: Sequence[str] = ()
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    meter: Meter | None = None
    interpreter: Translator | None = None

    def in_words(self, error: Mapping[str, Any], languages: Sequence[str]) -> Mapping[str, Any]:
        """Put an error that no operation returned into the client's language."""
        return error if self.interpreter is None else self.interpreter.describe(error, languages)

    def language_header(self, accept_language: str | None) -> dict[str, str]:
        """Return the header that names the language of errors."""
        interpreter = self.interpreter
        return {} if interpreter is None else {"content-language": interpreter.language(languages_of(accept_language))}

    def authority(self, caller: Principal | None, languages: Sequence[str]) -> Hashable:
        """A value that is equal for callers who receive the same bytes; None for callers without credentials."""
        permissions = permissions_of(caller)
        return None if permissions is None else (permissions, tuple(languages))

    async def admit(self, request: OperationRequest, caller: Principal | None) -> Admission:
        """Find the document of a request, plan it and charge the caller; every operation goes through here."""
        document = await self.documents.find(request)
        if isinstance(document, Refusal):
            return Admission(document)
        plan = self.engine.plan(document, request.operation_name, introspection=self.schema_access.allows(caller))
        # Only documents that can run are kept, and only for callers with credentials, who can be held to account.
        if caller is not None and not isinstance(plan, Refusal):
            await self.documents.keep(request)
        if self.meter is None or isinstance(plan, Refusal):
            return Admission(plan)
        return await self.meter.admit(plan, request.variables, caller)
