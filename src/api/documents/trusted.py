"""Trusted documents: the operations our own frontends were built with, and what becomes of all others."""

from collections.abc import Mapping

import structlog

from api.metrics import documents
from core.settings import Manifest, TrustMode
from core.settings.values import digest

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
        # Each once: whoever reads this wants to complete the manifest.
        if name not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(name)
            log.warning("untrusted_document", sha256=name, characters=len(document), refused=self.is_enforced)
        return not self.is_enforced
