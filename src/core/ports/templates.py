"""Templates in a provider's catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class TemplateCategory(StrEnum):
    """What a template is for; providers and laws treat the three differently."""

    TRANSACTIONAL = "TRANSACTIONAL"
    MARKETING = "MARKETING"
    AUTHENTICATION = "AUTHENTICATION"


class TemplateApproval(StrEnum):
    """Whether the channel's provider has approved a template."""

    NOT_NEEDED = "NOT_NEEDED"
    PENDING = "PENDING"
    APPROVED = "APPROVED"
    PAUSED = "PAUSED"
    REJECTED = "REJECTED"
    DISABLED = "DISABLED"


@dataclass(frozen=True, slots=True)
class TemplateButton:
    """A button with a gap in it."""

    index: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ProviderTemplate:
    """A template in the provider's catalogue: texts with gaps, {{1}} or {{name}}; `examples` are by the gap's name."""

    provider_id: str
    name: str
    locale: str
    category: TemplateCategory
    approval: TemplateApproval
    body: str
    header: str | None = None
    buttons: Sequence[TemplateButton] = ()
    examples: Mapping[str, str] = field(default_factory=dict)


class TemplateCatalogue(Protocol):
    """Reads the templates in a provider's catalogue."""

    async def list(self) -> Sequence[ProviderTemplate]:
        """Read all of them, page by page; raises a ProviderError."""
        ...


@dataclass(frozen=True, slots=True)
class Filled:
    """Which template a message was made of, and what its gaps were filled with."""

    template_id: UUID
    variables: Mapping[str, str] = field(default_factory=dict)
