"""Circuits as people see them, and the way to close one by hand."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import structlog
from redis.asyncio import Redis

from core.errors import Overloaded
from core.flow.gate import MICROSECONDS, gate_key
from core.flow.scripts import NOW, READ, RESET
from core.flow.store import SharedStore
from core.flow.values import CircuitRules, CircuitState, CircuitView
from core.words import say

log = structlog.get_logger(__name__)

_RESET_WITHIN = 1.0
"""Seconds after which a reset that the store has not carried out no longer takes effect."""


class Circuits:
    """Every integration's circuit."""

    def __init__(self, redis: Redis) -> None:
        self._store = SharedStore(redis, "circuits")

    async def read(self, integrations: Collection[str]) -> Mapping[str, CircuitView]:
        """Look at some, in one round trip; with the store away all are closed, which is how workers treat them."""
        names = list(dict.fromkeys(integrations))
        found = await self._store.run(READ, [gate_key(name) for name in names]) if names else []
        if found is None:
            return dict.fromkeys(names, CircuitView())
        return {
            name: CircuitView(
                CircuitState(state.decode()),
                int(failures),
                _moment(opened),
                _moment(retry),
                has_refused_us=int(refusals) >= CircuitRules().refusals,
                changed_at=_moment(changed),
            )
            for name, (state, failures, opened, retry, refusals, changed) in zip(names, found, strict=True)
        }

    async def reset(self, integration: str, *, by: str) -> None:
        """Close one and forget its failures and any pause; `by` is who asked. Raises Overloaded.

        Calls already under way say nothing about the time after.
        """
        now = await self._store.run(NOW, [])
        until = None if now is None else now + int(_RESET_WITHIN * MICROSECONDS)
        was_open = None if until is None else await self._store.run(RESET, [gate_key(integration)], until)
        if was_open is None or was_open < 0:
            text = say(
                "CIRCUITS_AWAY",
                "The store that holds the circuit breakers does not answer, so it is not known whether the circuit was"
                " reset. Reset it again.",
            )
            raise Overloaded(text, retry_after=1.0)
        log.info("circuit_reset", integration=integration, by=by, was_open=bool(was_open))


def _moment(text: bytes) -> datetime | None:
    return datetime.fromtimestamp(int(text) / MICROSECONDS, UTC) if text else None
