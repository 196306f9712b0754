"""What a template is, what somebody wants of it, and how it is said that it will not do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from core.errors import Conflict
from core.ports import Channel, TemplateApproval, TemplateButton, TemplateCategory


@dataclass(frozen=True, slots=True)
class Template:
    """A template as it stands; `integration` names the company that keeps it, and is None for one of ours."""

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
        """Whether it is filled here; a company's is filled there, from the parameters we give."""
        return self.integration is None


@dataclass(frozen=True, slots=True)
class TemplateUse:
    """A template as a caller wants it sent: `id` is None when `written`, what they wrote, cannot be an id."""

    id: UUID | None
    written: str
    variables: Sequence[tuple[str, str]] = ()

    def canonical(self) -> Mapping[str, object]:
        """What makes two uses the same request, whatever the template's text has become meanwhile."""
        return {"template": str(self.id), "variables": dict(self.variables)}


class TemplateNotUsable(Conflict):
    """The template is not approved, does not fit the route, or lacks variables: `missing` names them."""

    code = "TEMPLATE_NOT_USABLE"

    def __init__(self, message: str, *, template: Template, path: Sequence[str], missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.template = template
        self.path = tuple(path)
        self.missing = tuple(missing)
