"""The words and values of flow control: a circuit's state, what a worker may claim, what became of its calls."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class CircuitState(StrEnum):
    """CLOSED lets calls through, OPEN holds them back, HALF_OPEN lets one through to see."""

    CLOSED = "CLOSED"
    HALF_OPEN = "HALF_OPEN"
    OPEN = "OPEN"


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many messages may be claimed now; `retry_in` seconds later it is worth asking for more.

    `ticket` names the stretch of the circuit's life in which the calls begin, and goes into the `Outcomes` of those
    calls; None while nobody keeps the circuit. `retry_in` is 0 when all that was wanted was granted.
    """

    count: int
    retry_in: float
    circuit: CircuitState
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Suspect:
    """A call that failed, perhaps because of its recipient or of what its tenant sends; both are hashes in hex."""

    recipient: str
    tenant: str
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How calls that began under one ticket ended: answered, failed, or refused because of who we are.

    `failures` and `refusals` are those that any call would have met, and count one by one; `suspects` count by
    recipient and tenant. `tenants` are the hashes of those whose calls ended. `pause` is how many seconds the company
    asked everybody to wait.
    """

    ticket: int | None
    successes: int = 0
    failures: int = 0
    refusals: int = 0
    pause: float = 0.0
    suspects: tuple[Suspect, ...] = ()
    tenants: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CircuitRules:
    """When a circuit opens and for how long: so many failures, or refusals of us, in a row; times in seconds.

    A trial's lease lasts `trial_lease` seconds. The worker that has it renews it until its call has ended, for
    `longest_trial` seconds at most. A lease whose worker gave up or died ends by itself, and another worker may try.
    While another tenant's calls have ended within `active_for` seconds, suspects of one tenant alone open nothing.
    """

    failures: int = 10
    refusals: int = 3
    first_pause: float = 5.0
    longest_pause: float = 300.0
    trial_lease: float = 1.5
    longest_trial: float = 40.0
    active_for: float = 600.0


@dataclass(frozen=True, slots=True)
class CircuitView:
    """A circuit as people are shown it; `opened_at` is when calls last ceased to flow freely.

    `has_refused_us` says that the company refused us, not the messages, often enough to open it.
    """

    state: CircuitState = CircuitState.CLOSED
    consecutive_failures: int = 0
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    has_refused_us: bool = False
    changed_at: datetime | None = field(default=None, compare=False)
