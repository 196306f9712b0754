"""Which attempt holds a provider's id, and giving an id back that a list had ascribed to the wrong attempt.

No two attempts hold one id. What the provider signs, or answers to our own call, says whose it is; what its list shows
is only alike, and gives way.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.messages.provider_ids import clear_forms, lookups
from core.messages.record import Key, Noted, attempts_named
from core.messages.transitions import Attempt, Standing, withdrawn
from core.messages.values import EventSource
from core.sealing import Sealer

LOOK_AGAIN = timedelta(minutes=1)
"""After an id was taken back from a message: its own report is probably on its way."""

Name = tuple[str, str]
"""An integration, and an id of its provider's."""

_ONE_AT_A_TIME = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('sighting ' || name, 0)) FROM unnest(:names) AS name"
).bindparams(bindparam("names", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class About:
    """One attempt of a message."""

    key: Key
    attempt: int


async def holders_of(connection: AsyncConnection, sealer: Sealer, names: Collection[Name]) -> dict[Name, About]:
    """The attempts that hold ids; those that nobody holds are left out."""
    return {name: About(*found) for name, found in (await attempts_named(connection, sealer, names)).items()}


async def hold_names(connection: AsyncConnection, names: Collection[Name]) -> None:
    """Until the end of the transaction no other settler decides about the same records of a list."""
    # One order for everybody, so that two wait for each other instead of deadlocking.
    wanted = sorted(f"{integration} {name}" for integration, name in names)
    await connection.execute(_ONE_AT_A_TIME, {"names": wanted})


def give_back(standings: dict[Key, Standing], holder: About, integration: str, source: EventSource) -> Noted | None:
    """Take an id back from an attempt that has it from a list; None from one that has it for certain."""
    before = standings.get(holder.key)
    held = None if before is None else before.attempts.get(holder.attempt)
    if before is None or held is None or not held.is_from_list:
        return None
    move = withdrawn(before, holder.attempt, LOOK_AGAIN)
    standings[holder.key] = move.standing
    return Noted(
        holder.key,
        before,
        move,
        source,
        attempt=holder.attempt,
        integration=integration,
        detail=f"{integration} says that the record found in its list was another message's",
        is_withdrawn=True,
    )


def holds(sealer: Sealer, attempt: Attempt, id: str) -> bool:
    """Whether an attempt holds an id, in whatever form."""
    kept = attempt.provider_id
    return kept is not None and (kept.lookup in lookups(sealer, id) or kept.clear in clear_forms(sealer, id))
