"""The audit log: an act of a caller, and the events that record what became of it.

The table is append-only and holds no personal data.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, ForeignKey, Index, PrimaryKeyConstraint, Table, Text, Uuid, func, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import metadata
from core.ids import uuid7
from core.ports.identity import ActorKind, Principal

audit_events = Table(
    "audit_events",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The subject of the credentials, and who acted in its name, if anyone did.
    Column("actor", Text, nullable=False),
    Column("on_behalf", Text),
    Column("kind", Text, nullable=False),
    # The mutation's name, or a command's.
    Column("action", Text, nullable=False),
    # An object by its type and key: a UUID, or the name of what has none.
    Column("target_type", Text),
    Column("target_id", Text),
    Column("request_id", Text),
    # DONE, or REFUSED with the code of the error.
    Column("outcome", Text, nullable=False),
    Column("code", Text),
    PrimaryKeyConstraint("tenant_id", "id"),
    Index("ix_audit_events_target", "tenant_id", "target_id", "id", postgresql_where=text("target_id IS NOT NULL")),
)


SENDS = frozenset({"sendMessage", "sendMessages"})
"""The acts whose events are the messages they made."""


class ActOutcome(StrEnum):
    """Whether an act was done."""

    DONE = "DONE"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class Author:
    """Who acts, by which credentials, and in which request; `on_behalf` is who acts in the actor's name, if anyone."""

    actor: str
    kind: ActorKind
    action: str
    on_behalf: str | None = None
    request_id: str | None = None

    def to_json(self) -> str:
        """As JSON for a row that is its own audit event."""
        given = {"action": self.action, "actor": self.actor, "kind": self.kind.value}
        more = {"onBehalf": self.on_behalf, "requestId": self.request_id}
        return json.dumps(given | {name: value for name, value in more.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was refused, with the code of the error."""

    code: str
    target_type: str | None = None
    target_id: UUID | str | None = None


@dataclass(slots=True)
class Act:
    """One act of a caller on a tenant's data; `is_recorded` once its events are written."""

    tenant_id: UUID
    author: Author
    is_recorded: bool = field(default=False, init=False)

    @classmethod
    def of(cls, principal: Principal, action: str, request_id: str) -> "Act":
        """Begin an act of a caller."""
        author = Author(principal.subject, principal.kind, action, principal.actor, request_id)
        return cls(principal.tenant_id, author)

    async def done(
        self, connection: AsyncConnection, target_type: str | None = None, ids: Collection[UUID | str] = ()
    ) -> None:
        """Record that it was done to each of these, in the transaction that does it.

        Nothing is written where a type is given and `ids` is empty.
        """
        self.is_recorded = True
        if target_type is None:
            await self._write(connection, [{}])
        elif ids:
            await self._write(connection, [{"target_type": target_type, "target_id": str(one)} for one in ids])

    async def refused(self, connection: AsyncConnection, refusals: Sequence[Refusal]) -> None:
        """Record what was refused."""
        rows = [
            {
                "outcome": ActOutcome.REFUSED.value,
                "code": one.code,
                "target_type": one.target_type,
                "target_id": None if one.target_id is None else str(one.target_id),
            }
            for one in refusals
        ]
        if rows:
            await self._write(connection, rows)

    def recorded_by_rows(self) -> None:
        """Record nothing: the messages it made hold their author, and those rows are its events."""
        if self.author.action not in SENDS:
            raise LookupError(f"{self.author.action} is not looked for among messages")
        self.is_recorded = True

    async def _write(self, connection: AsyncConnection, rows: Sequence[dict[str, Any]]) -> None:
        common = {
            "tenant_id": self.tenant_id,
            "actor": self.author.actor,
            "on_behalf": self.author.on_behalf,
            "kind": self.author.kind.value,
            "action": self.author.action,
            "request_id": self.author.request_id,
            "outcome": ActOutcome.DONE.value,
            "code": None,
            "target_type": None,
            "target_id": None,
        }
        await connection.execute(insert(audit_events), [common | {"id": uuid7()} | row for row in rows])
