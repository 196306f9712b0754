"""The tables of templates, our own and copies of providers' and of the catalogues to sync, and their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Column, DateTime, ForeignKey, PrimaryKeyConstraint, SmallInteger, Table, Text, Uuid, func, text
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.dialects.postgresql import JSONB

from core.database import metadata
from core.errors import Conflict
from core.ports import Channel, TemplateApproval, TemplateButton, TemplateCategory

templates = Table(
    "templates",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    # Never deleted, since messages refer to it.
    Column("id", Uuid, nullable=False),
    Column("channel", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("category", Text, nullable=False),
    # NOT_NEEDED, PENDING, APPROVED or REJECTED: the values that earlier versions know.
    Column("approval", Text, nullable=False),
    # PAUSED or DISABLED, where `approval` says less: see `shown_approval` in queries.py.
    Column("approval_detail", Text),
    Column("subject", Text),
    Column("header", Text),
    Column("body", Text, nullable=False),
    Column("html", Text),
    # [{"index": 0, "kind": "URL", "text": "https://…/{{1}}"}, …]: the buttons with a placeholder.
    Column("buttons", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    # Example values, by variable.
    Column("examples", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # The provider's integration, and the provider's id; null for our own.
    Column("integration", Text),
    Column("provider_id", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # When the provider stopped listing it.
    Column("gone_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "id"),
    Unique("tenant_id", "channel", "name", "locale"),
)

template_catalogues = Table(
    "template_catalogues",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("integration", Text, nullable=False),
    # When a worker may read it next; the worker that moves it on reads it.
    Column("due_at", DateTime(timezone=True), nullable=False),
    # Failures in a row.
    Column("failures", SmallInteger, nullable=False, server_default="0"),
    Column("read_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("tenant_id", "integration"),
)


# The values of templates: a template, its use in a message, and the error when it cannot be used.


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
