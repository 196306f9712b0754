"""From a request to the text of its document, or to the reason why there is none; the same for HTTP, sockets and SSE.

https://www.apollographql.com/docs/apollo-server/performance/apq#how-it-works says what clients expect of hashes.
"""

from api.documents.persisted import PersistedQueries
from api.documents.trusted import TrustedDocuments
from api.metrics import documents
from api.operations import OperationRequest
from core.settings.values import digest
from engine.answer import Outcome
from engine.plan import Refusal

# The very words that clients wait for before they send the whole document.
NOT_FOUND = ("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
NOT_SUPPORTED = ("PersistedQueryNotSupported", "PERSISTED_QUERY_NOT_SUPPORTED")
MISMATCH = ("The SHA-256 is not that of the query.", "PERSISTED_QUERY_HASH_MISMATCH")
NOT_TRUSTED = (
    "This server runs only the documents its frontends were built with, and this is none of them.",
    "DOCUMENT_NOT_TRUSTED",
)


class Library:
    """The documents that are known here; without `persisted` nobody can register any."""

    def __init__(self, trusted: TrustedDocuments, persisted: PersistedQueries | None = None) -> None:
        self._trusted = trusted
        self._persisted = None if trusted.is_enforced else persisted

    async def find(self, request: OperationRequest) -> str | Refusal:
        """Find what a request wants to be run."""
        name, query = request.document_id, request.query
        if query is not None:
            if name is not None and digest(query) != name:
                return _refused(*MISMATCH)
            return query if self._trusted.admits(query) else _refused(*NOT_TRUSTED)
        if name is None:
            return _refused(*NOT_FOUND)
        if (document := self._trusted.find(name)) is not None:
            documents.labels("trusted").inc()
            return document
        if self._trusted.is_enforced:
            return _refused(*NOT_TRUSTED)
        if self._persisted is None:
            return _refused(*NOT_SUPPORTED)
        document = await self._persisted.find(name)
        documents.labels("persisted" if document is not None else "unknown").inc()
        if document is None:
            return _refused(*NOT_FOUND)
        # Registered by another client, and so no more trusted than if it had come as text.
        self._trusted.admits(document)
        return document

    async def keep(self, request: OperationRequest) -> None:
        """Register the document of a request that asks for it: one that sends the hash along with the text."""
        if self._persisted is not None and request.document_id is not None and request.query is not None:
            await self._persisted.keep(request.query)


def _refused(message: str, code: str) -> Refusal:
    return Refusal(Outcome.REFUSED, ({"message": message, "extensions": {"code": code}},))
