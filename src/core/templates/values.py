"""The values of templates: a template, its use in a message, and the error when it cannot be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.errors import Conflict
from core.ports import Channel, TemplateApproval, TemplateButton, TemplateCategory


@dataclass(frozen=True, slots=True)
class Template:
    """A template as it is; `integration` names its provider, and is None for one of our own."""

    id: UUID
    channel: Channel
    name: str
    locale: str
    category: TemplateCategory
    approval: TemplateApproval
    body: str
    subject: str | None
    header: str | None
    html: str | None
    buttons: Sequence[TemplateButton]
    examples: Mapping[str, str]
    integration: str | None
    created_at: datetime
    updated_at: datetime
    gone_at: datetime | None

    @property
    def is_ours(self) -> bool:
        """Whether it is filled here; a provider's template is filled by the provider, from parameters."""
        return self.integration is None


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """A template that a caller wants to send; `written` is the given id, `id` its value, None if it is malformed."""

    id: UUID | None
    written: str
    variables: Sequence[tuple[str, str]] = ()

    def canonical(self) -> Mapping[str, object]:
        """The JSON by which two requests are compared, independent of the template's text."""
        return {"template": str(self.id), "variables": dict(self.variables)}


class TemplateNotUsable(Conflict):
    """The template is not approved, does not fit the route, or misses values: `missing` names the variables."""

    code = "TEMPLATE_NOT_USABLE"

    def __init__(self, message: str, *, template: Template, path: Sequence[str], missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.template = template
        self.path = tuple(path)
        self.missing = tuple(missing)
