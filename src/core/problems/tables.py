"""The tables of problems and of the turns at which providers are probed, and whose problems a tenant may read."""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, Integer, PrimaryKeyConstraint, Table, Text, Uuid, func, text

from core.database import metadata
from core.ports.identity import DEFAULT_TENANT

OPERATOR = UUID(int=0)
"""Owns the problems of the whole installation. No tenant has this id, so row-level security hides them from tenants."""

problems = Table(
    "problems",
    metadata,
    Column("tenant_id", Uuid, nullable=False),
    Column("id", Uuid, nullable=False),
    # Identifies the condition: `probe:twilio:TWILIO_REFUSES_US`. One problem at most is open for each.
    Column("key", Text, nullable=False),
    # Its title and advice in the catalogues.
    Column("code", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("integration", Text),
    Column("subject_kind", Text),
    Column("subject_id", Uuid),
    # In English, and without personal data.
    Column("title", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("advice", Text, nullable=False),
    Column("count", Integer, nullable=False, server_default="1"),
    # What was counted last, for an event that is reported more than once.
    Column("occurrence", Text),
    # The number of objects that it concerns, and what they are: 12 messages.
    Column("extent", Integer),
    Column("extent_unit", Text),
    Column("first_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("closed_at", DateTime(timezone=True)),
    Column("closed_by", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_problems_open", "tenant_id", "key", unique=True, postgresql_where=text("closed_at IS NULL")),
    Index("ix_problems_closed", "closed_at", postgresql_where=text("closed_at IS NOT NULL")),
)

probe_turns = Table(
    "probe_turns",
    metadata,
    # The integration that is probed; the worker that moves `due_at` on has the turn.
    Column("integration", Text, primary_key=True),
    Column("began_at", DateTime(timezone=True), nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
)


class ClosedBy(StrEnum):
    """What ended a problem: a probe no longer finds it, the part that reported it, or an operator."""

    PROBE = "PROBE"
    NOUN = "NOUN"
    OPERATOR = "OPERATOR"


def readable_by(tenant: UUID) -> Sequence[UUID]:
    """The owners of the problems that callers of a tenant may read.

    Until operators have an identity of their own, the default tenant acts for the operator. This is the only place
    that says so for problems.
    """
    return (tenant, OPERATOR) if tenant == DEFAULT_TENANT else (tenant,)
