"""What a simulated provider is: the base class of every `Simulator`, its clock and its snapshots."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Protocol, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from integrations.simulating.faults import Fault, FaultKind, FaultOrder, Faults
from integrations.simulating.journal import Journal
from integrations.simulating.webhooks import Event, WebhookPlan, WebhookSender


@dataclass(slots=True)
class Clock:
    """Tells windows, limits and the times of messages; how long webhooks travel is real time."""

    ahead: timedelta = timedelta()

    def now(self) -> datetime:
        """The provider's time."""
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self.ahead += timedelta(seconds=seconds)

    def set_ahead(self, seconds: float) -> None:
        """Turn it so far ahead of real time."""
        self.ahead = timedelta(seconds=seconds)


# Snapshots of a provider's state: exported, and checked when imported.


State = TypeVar("State")
_CENTURY = 100 * 366 * 86_400

STRICT = ConfigDict(extra="forbid")
"""For what is kept in snapshots: an unknown field is a sign of another version."""


class Snapshot(BaseModel, frozen=True, extra="forbid"):
    """Whose memory it is, the version it is written in, how far the clock was ahead, in seconds, and the books."""

    company: str
    version: int
    ahead: float = Field(ge=0, le=_CENTURY, allow_inf_nan=False)
    books: dict[str, Any]


def dump_state(books: object) -> dict[str, Any]:
    """The books as JSON."""
    shown: dict[str, Any] = TypeAdapter(type(books)).dump_python(books, mode="json")
    return shown


def load_state(kind: type[State], books: dict[str, Any]) -> State:
    """Read what `written` gave, and nothing else: raises pydantic's ValidationError."""
    return TypeAdapter(kind).validate_python(books)


# The base class of simulated providers; each folder's `simulator` module derives its `Simulator` from it.


Json = dict[str, Any]
Action = Callable[[Json], Awaitable[Json]]
"""Does what an order says; raises ControlRefused, or pydantic's ValidationError."""


class ControlRefused(Exception):
    """The control API was asked for something that makes no sense here; `field` is the input at fault."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class StoredMessage(Protocol):
    """A message as a provider keeps it."""

    @property
    def id(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    def concerns(self, address: str) -> bool:
        """Whether it went to this address."""
        ...

    def shown(self) -> Json:
        """The message for the control API."""
        ...


class SimulatedProvider(ABC):
    """A provider on this machine. It reads its account from the variables that its adapter reads."""

    name: ClassVar[str]
    points: ClassVar[Sequence[str]]
    """Where a fault can strike; the first is meant when an order names none."""
    faults_known: ClassVar[frozenset[FaultKind]] = frozenset(FaultKind)
    default_plan: ClassVar[WebhookPlan | None] = None
    """How its webhooks travel; None for a provider that sends none."""
    memory_version: ClassVar[int] = 1
    """Of the way its memory is written: no other is taken back."""

    def __init__(self, environment: Mapping[str, str], journal: Journal) -> None:
        self.environment = environment
        self.journal = journal
        self.faults = Faults()
        self.clock = Clock()
        self.webhook_sender = WebhookSender(self.name, journal, self.default_plan or WebhookPlan())

    def routes(self) -> Sequence[web.RouteDef]:
        """Its HTTP side, mounted at `/<name>`."""
        return ()

    async def start(self) -> Json:
        """Open what it listens on besides HTTP; returns what a caller must know to find it."""
        return {}

    async def stop(self) -> None:
        """Close everything."""
        await self.webhook_sender.close()

    @abstractmethod
    def kept(self) -> Iterator[StoredMessage]:
        """Every message it took or wrote, oldest first."""

    @abstractmethod
    def forget(self) -> None:
        """Forget every message."""

    def details(self) -> Json:
        """What else a person looking at it wants to know."""
        return {}

    def inbound(self, order: Json) -> Json:
        """A person writes to us through the provider."""
        raise ControlRefused(f"{self.name} has no inbound messages")

    def report(self, message_id: str, order: Json) -> Json:
        """Something becomes of a message, now."""
        raise ControlRefused(f"{self.name} does not report on messages")

    def actions(self) -> Mapping[str, Action]:
        """What else can be done to it, by name."""
        return {}

    def events(self) -> Mapping[str, Event]:
        """What it can be made to tell us, by name: `<its channel or itself>.<what happened>`."""
        return {}

    @abstractmethod
    def written_state(self) -> Json:
        """Everything it remembers, as JSON, and no secret."""

    @abstractmethod
    def read_state(self, records: Json) -> None:
        """Remember that and nothing else; raises pydantic's ValidationError, and then nothing has changed."""

    def exported(self) -> Json:
        """Everything it remembers, and how far its clock is ahead."""
        ahead = self.clock.ahead.total_seconds()
        memory = Snapshot(company=self.name, version=self.memory_version, ahead=ahead, books=self.written_state())
        return memory.model_dump()

    async def imported(self, state: Json) -> None:
        """Remember what was exported, and nothing else; what was under way is over. Garbage changes nothing."""
        memory = Snapshot.model_validate(state)
        if memory.company != self.name:
            raise ControlRefused(f"this is the memory of {memory.company}, not of {self.name}", field="company")
        if memory.version != self.memory_version:
            words = f"{self.name} reads memories of version {self.memory_version}, not {memory.version}: export it anew"
            raise ControlRefused(words, field="version")
        self.read_state(memory.books)
        self.clock.set_ahead(memory.ahead)
        await self.webhook_sender.forget()

    def advance(self, seconds: float) -> None:
        """Let time pass at once, by the provider's clock; what is due by then happens."""
        self.clock.advance(seconds)

    def arm(self, order: FaultOrder) -> Fault:
        """Arm a fault, if it is one this provider can have."""
        if order.kind not in self.faults_known:
            raise ControlRefused(f"{self.name} cannot have {order.kind}: {sorted(self.faults_known)}", field="kind")
        at = order.at or self.points[0]
        if at not in self.points:
            raise ControlRefused(f"{self.name} has no point {at!r}: {list(self.points)}", field="at")
        self.check(order)
        return self.faults.arm(order, at)

    @abstractmethod
    def check(self, order: FaultOrder) -> None:
        """Raise ControlRefused when the code of an order is none of the provider's."""

    def replan(self, plan: WebhookPlan) -> None:
        """Let webhooks travel another way from now on."""
        if self.default_plan is None:
            raise ControlRefused(f"{self.name} sends no webhooks")
        self.webhook_sender.plan = plan

    async def reset(self) -> None:
        """Back to the first day: nothing kept, nothing armed, nothing under way."""
        await self.webhook_sender.reset()
        self.faults.disarm()
        self.clock.set_ahead(0)
        self.forget()
        self.journal.forget(self.name)

    def state(self) -> Json:
        """The provider at a glance."""
        return {
            "name": self.name,
            "now": self.clock.now().isoformat(),
            "points": list(self.points),
            "actions": sorted(self.actions()),
            "events": [
                {"name": name, "words": event.words, "parameters": list(event.parameters)}
                for name, event in self.events().items()
            ],
            "messages": sum(1 for _ in self.kept()),
            "faults": [fault_resource(fault) for fault in self.faults.armed],
            "webhooks": self.webhook_sender.plan.model_dump(mode="json") if self.default_plan else None,
            "held": len(self.webhook_sender.held),
            **self.details(),
        }


def fault_resource(fault: Fault) -> Json:
    """An armed fault for the control API."""
    order = fault.order.model_dump(mode="json", exclude_defaults=True)
    return {
        **order,
        "id": fault.id,
        "at": fault.at,
        "seen": fault.seen,
        "struck": fault.struck,
        "spent": fault.is_spent,
    }
