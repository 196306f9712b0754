"""Messages as a life of days leaves them, written straight into the tables."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from core.identifiers import uuid7, uuid7_floor
from core.messages.content import content_to_json
from core.ports import EmailContent, TextContent
from core.sealing import Sealer
from resolvers.identifiers import to_global_id
from tests.graph.conftest import Caller

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Stocked:
    """A message in the tables."""

    id: UUID

    @property
    def global_id(self) -> str:
        return to_global_id("Message", self.id.bytes)


@dataclass
class Stock:
    """Puts messages on the shelves of one tenant."""

    owner: asyncpg.Pool
    sealer: Sealer
    tenant: UUID
