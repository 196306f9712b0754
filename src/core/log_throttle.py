"""Logging a failure that repeats: at once, then at growing intervals with a count, and once when it is over."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

log = structlog.get_logger(__name__)

FIRST_INTERVAL = 10.0
LONGEST_INTERVAL = 600.0
_OVER_AFTER = 15.0


@dataclass(slots=True)
class _Kind:
    """One kind of failure: when it is logged next, and how often it came since the last line."""

    began: float
    next_line: float
    interval: float = FIRST_INTERVAL
    unsaid: int = 0


@dataclass(slots=True)
class ThrottledLog:
    """Logs failures of one thing by kind; a repeated one after 10, 20, 40 … seconds, up to every 10 minutes."""

    clock: Callable[[], float] = time.monotonic
    _kinds: dict[str, _Kind] = field(default_factory=dict)
    _failed_at: float = 0.0

    def failed(self, event: str, kind: str, *, level: str = "warning", **fields: Any) -> bool:
        """Record a failure; where a line is due, logs it and returns True."""
        now = self._failed_at = self.clock()
        known = self._kinds.get(kind)
        if known is None:
            self._kinds[kind] = _Kind(began=now, next_line=now + FIRST_INTERVAL)
            getattr(log, level)(event, **fields)
            return True
        known.unsaid += 1
        if now < known.next_line:
            return False
        known.interval = min(known.interval * 2, LONGEST_INTERVAL)
        known.next_line = now + known.interval
        again, known.unsaid = known.unsaid, 0
        # The traceback is long, and is logged once.
        fields.pop("exc_info", None)
        getattr(log, level)(event, **fields, times=again, for_seconds=round(now - known.began))
        return True

    def succeeded(self, event: str, **fields: Any) -> None:
        """Record a success; logs that the failures are over once none has come for 15 seconds.

        Alternating failures and successes are one disturbance, not many.
        """
        if self._kinds and self.clock() - self._failed_at >= _OVER_AFTER:
            began = min(kind.began for kind in self._kinds.values())
            unsaid = sum(kind.unsaid for kind in self._kinds.values())
            self._kinds.clear()
            log.info(event, **fields, after_seconds=round(self._failed_at - began), times=unsaid)
