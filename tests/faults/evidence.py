"""What is known after a run: which answers clients got, what the database holds, what the providers recorded."""

import asyncio
import re
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg

from core.ports import Reference
from tests.faults.system import SystemUnderTest
from tests.faults.traffic import AcceptedMessage, Traffic

RANK = {"sent": 1, "failed": 2, "undelivered": 2, "delivered": 3, "read": 4}
UNSETTLED = """
SELECT (SELECT count(*) FROM messages WHERE status IN ('QUEUED', 'SENDING') OR lease_until IS NOT NULL
        OR (status = 'UNCONFIRMED' AND due_at IS NOT NULL AND updated_at > now() - interval '15 s'))
     + (SELECT count(*) FROM inbox WHERE status = 'RECEIVED')
"""
_MAIL_ID = re.compile("<([0-9a-f]{32})@")


@dataclass(frozen=True)
class Copy:
    """One acceptance of a message by a provider; an e-mail does not say which attempt it belongs to."""

    message_id: UUID
    attempt: int | None
    at: datetime
    reported: int
    """The highest rank that the provider reached for it."""


@dataclass
class Evidence:
    """All that was gathered, mostly by message."""

    accepted: list[AcceptedMessage]
    given_up: int
    refused: list[str]
    messages: dict[UUID, asyncpg.Record]
    attempts: dict[UUID, list[asyncpg.Record]]
    events: dict[UUID, list[asyncpg.Record]]
    keys: dict[tuple[UUID, str], UUID]
    unread: list[asyncpg.Record]
    idle: list[asyncpg.Record]
    copies: dict[UUID, list[Copy]]
    answered: dict[tuple[UUID, int], int]
    """The highest rank of a report that was answered with 2xx, by message and attempt."""
    logs: dict[str, str] = field(repr=False, default_factory=dict)


async def wait_until_quiet(system: SystemUnderTest, seconds: float) -> float:
    """Wait until nothing is due, leased, unread or being reported, at most so long; return how long it took."""
    began, quiet = time.monotonic(), 0
    while quiet < 3 and time.monotonic() - began < seconds:
        quiet = 0 if await _is_busy(system) else quiet + 1
        await asyncio.sleep(0.5)
    return time.monotonic() - began


async def _is_busy(system: SystemUnderTest) -> bool:
    lately = datetime.now(UTC) - timedelta(seconds=2)
    if await system.control.journal(simulator="twilio", direction="webhook", since=lately.isoformat()):
        return True
    [found] = await system.stores.fetch(UNSETTLED)
    return bool(found[0])


async def gather_evidence(system: SystemUnderTest, traffic: Traffic) -> Evidence:
    """Read the clients, the database, the providers' simulators and the logs."""
    stores = system.stores
    # Answered reports are read before the database: one that arrives in between would prove nothing.
    answered = await _answered(system)
    await wait_until_quiet(system, 20)
    rows = await stores.fetch("SELECT * FROM messages WHERE direction = 'OUTBOUND'")
    return Evidence(
        accepted=list(traffic.accepted),
        given_up=len(traffic.given_up),
        refused=list(traffic.refused),
        messages={row["id"]: row for row in rows},
        attempts=_by_message(await stores.fetch("SELECT * FROM attempts ORDER BY message_id, number")),
        events=_by_message(await stores.fetch("SELECT * FROM message_events ORDER BY message_id, sequence")),
        keys={
            (row["tenant_id"], row["key"]): row["resource_id"]
            for row in await stores.fetch("SELECT tenant_id, key, resource_id FROM idempotency_keys")
        },
        unread=await stores.fetch("SELECT event_type, status, error FROM inbox WHERE status IN ('RECEIVED', 'FAILED')"),
        idle=await stores.fetch(
            "SELECT usename, state, xact_start FROM pg_stat_activity"
            " WHERE state LIKE 'idle in transaction%' AND xact_start < now() - interval '10 s'"
        ),
        copies=await _copies(system),
        answered=answered,
        logs={str(path.relative_to(system.folder)): path.read_text(errors="replace") for path in system.logs},
    )


def _by_message(rows: list[asyncpg.Record]) -> dict[UUID, list[asyncpg.Record]]:
    found: dict[UUID, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        found[row["message_id"]].append(row)
    return found


async def _copies(system: SystemUnderTest) -> dict[UUID, list[Copy]]:
    """Read what the providers accepted from their own logs."""
    found: dict[UUID, list[Copy]] = defaultdict(list)
    for taken in await system.control.messages("twilio"):
        reference = _reference(taken["status_callback"])
        if taken["direction"] == "outbound-api" and reference is not None:
            rank = max(RANK.get(word, 0) for word in taken["history"])
            at = datetime.fromisoformat(taken["at"])
            found[reference.message_id].append(Copy(reference.message_id, reference.attempt, at, rank))
    for taken in await system.control.messages("whatsapp"):
        reference = Reference.parse(taken["reference"] or "")
        if reference is not None:
            rank = max(RANK.get(word, 0) for word in taken["history"])
            at = datetime.fromisoformat(taken["at"])
            found[reference.message_id].append(Copy(reference.message_id, reference.attempt, at, rank))
    for mail in await system.control.messages("smtp"):
        match = _MAIL_ID.match(mail["message_id"])
        assert match is not None, mail["message_id"]
        message_id = UUID(hex=match[1])
        found[message_id].append(Copy(message_id, None, datetime.fromisoformat(mail["at"]), 0))
    return found


async def _answered(system: SystemUnderTest) -> dict[tuple[UUID, int], int]:
    found: dict[tuple[UUID, int], int] = defaultdict(int)
    for entry in await system.control.journal(simulator="twilio", direction="webhook", verdict="delivered"):
        reference = _reference(entry["path"])
        if reference is None or entry["status"] // 100 != 2:
            continue
        place = (reference.message_id, reference.attempt)
        found[place] = max(found[place], RANK.get(_reported_status(entry), 0))
    return found


def _reported_status(entry: dict[str, Any]) -> str:
    return str(parse_qs(entry["body"])["MessageStatus"][0])


def _reference(url: str | None) -> Reference | None:
    return Reference.parse(parse_qs(urlsplit(url or "").query).get("ref", [""])[0])


def tracebacks(logs: dict[str, str]) -> list[str]:
    """Return the last line of each traceback in the logs."""
    found = []
    for name, text in logs.items():
        for piece in text.split("Traceback (most recent call last)")[1:]:
            last = next((line for line in piece.splitlines()[1:] if line and not line.startswith(" ")), "?")
            found.append(f"{Path(name).stem}: {last[:160]}")
    return found
