"""What a noun (messages, templates, payments …) contributes: its events, subjects, changes, counters …

A noun's package holds `noun.py` with one value `NOUN`. The composition root finds them; no file lists them. The
packages that read the contributions (inbox, dead letters, live, privacy, the worker) are given them; they import none.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import Column, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database import Database
from core.errors import AppError
from core.person import Person
from core.ports import Channel, Connected, ProviderEvent
from core.ports.identity import Reach
from core.pubsub import Change, Hub
from core.sealing import Sealer
from core.settings import CoreSettings

Service = TypeVar("Service")
Event = TypeVar("Event", bound=ProviderEvent)


@dataclass(frozen=True, slots=True)
class Installation:
    """What contributions work with: stores, settings, connected integrations by name, and services by their type.

    `channels` names the integration that carries each channel, whether it is connected or not.
    """

    settings: CoreSettings
    database: Database
    sealer: Sealer
    hub: Hub
    connected: Mapping[str, Connected]
    channels: Mapping[Channel, str] = field(default_factory=dict)
    services: Mapping[type, object] = field(default_factory=dict)

    def service(self, kind: type[Service]) -> Service:
        """The service of this type; raises LookupError where the composition root made none."""
        found = self.services.get(kind)
        if not isinstance(found, kind):
            raise LookupError(f"no service of the type {kind.__name__} was made")
        return found


class SubjectKey(NamedTuple):
    """An object by the kind of a subject and its id."""

    kind: str
    id: UUID


# ─── Webhook events ───────────────────────────────────────────────────────


class InboxKey(NamedTuple):
    """The key of an event in the inbox."""

    tenant_id: UUID
    id: UUID


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """An event waiting to be applied."""

    place: InboxKey
    integration: str
    event: ProviderEvent


@dataclass(slots=True)
class EventOutcomes:
    """What a handler did with its events; each must be in exactly one of these.

    `processed` says which object each event changed; `unknown` events are about an object that is not known (yet) and
    are retried, `names_ours` telling those that fail afterwards with a dead letter; `forgotten` are processed or
    ignored events whose content has to be erased, in addition.
    """

    processed: dict[InboxKey, SubjectKey | None] = field(default_factory=dict)
    ignored: list[InboxKey] = field(default_factory=list)
    unknown: list[InboxKey] = field(default_factory=list)
    names_ours: set[InboxKey] = field(default_factory=set)
    forgotten: list[InboxKey] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    @property
    def handled(self) -> set[InboxKey]:
        """Every event that has an outcome."""
        return {*self.processed, *self.ignored, *self.unknown}


EventHandler = Callable[[AsyncConnection, Sealer, Sequence[InboxEvent]], Awaitable[EventOutcomes]]
"""Applies events in the caller's transaction. Applying one twice must have no second effect."""


@dataclass(frozen=True, slots=True)
class EventAddress:
    """Where an event belongs: the tenant and object of our own reference, or the tenant resource it came in on."""

    tenant_id: UUID | None = None
    subject: SubjectKey | None = None
    resource: tuple[str, str] | None = None
    """A kind of tenant resource and its key: ("sender", "+5511…")."""


def _no_address(_event: Any) -> EventAddress:
    return EventAddress()


@dataclass(frozen=True, slots=True)
class EventType(Generic[Event]):
    """An event that a noun understands: its code in the sealed column, its codec, and its handler.

    `decode` is given the dedupe key, the provider's name of the event, and what `encode` wrote, perhaps in an earlier
    version. Events of all types with the same handler are handled together.
    """

    code: str
    type: type[Event]
    encode: Callable[[Event], Mapping[str, Any]]
    decode: Callable[[str, str, Mapping[str, Any]], Event]
    handle: EventHandler
    address_of: Callable[[Event], EventAddress] = _no_address


@dataclass(frozen=True, slots=True)
class Owner:
    """Finds the tenants that own resources of one kind: by (integration, keys), those that are known."""

    resource: str
    find: Callable[[AsyncConnection, str, Collection[str]], Awaitable[Mapping[str, UUID]]]


# ─── Subjects ─────────────────────────────────────────────────────────────


async def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Requeued:
    """Why each object was refused, None where its work is queued again; `then` runs after the commit."""

    refusals: Mapping[UUID, AppError | None]
    then: Callable[[], Awaitable[None]] = _nothing


@dataclass(frozen=True, slots=True)
class SubjectOrder:
    """Objects of one tenant that are to be worked on in the caller's transaction, within the caller's reach."""

    installation: Installation
    connection: AsyncConnection
    tenant_id: UUID
    ids: Sequence[UUID]
    reach: Reach


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of object that dead letters, the audit log, webhooks and templates refer to.

    `kind` is its type in the GraphQL schema. `lock` locks the rows of objects in the order of their ids; `requeue` puts
    their failed work back in its queue; `titles` names each in a few words without personal data; `variables` gives
    the values that a template about it may use.
    """

    kind: str
    work: str
    """The kind of work of its dead letters: `message.send`."""
    lock: Callable[[AsyncConnection, UUID, Sequence[UUID]], Awaitable[None]]
    requeue: Callable[[SubjectOrder], Awaitable[Requeued]]
    titles: Callable[[AsyncConnection, UUID, Collection[UUID]], Awaitable[Mapping[UUID, str]]]
    variables: Callable[[Installation, UUID, UUID], Awaitable[Mapping[str, str]]] | None = None


@dataclass(frozen=True, slots=True)
class TenantResource:
    """A kind of resource that the operator assigns to tenants: senders, calendars, payment accounts."""

    kind: str
    title: str


# ─── Changes ──────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ChangeKind:
    """A kind of change that subscribers follow; `reader` makes its `ChangeReader` (core/live/change_feed.py).

    `subject` is the kind of the hints that wake its readers.
    """

    subject: str
    reader: Callable[[Installation], Any]


# ─── The worker ───────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Loop:
    """Work that a worker repeats until it stops; `turn` is one round and rests at its end, or waits for `wake`.

    `topic` names the wake-ups that call `wake`. `stop` is called once and must return at once; `drained` returns when
    what is under way has been recorded. `workers` is told how many workers live.
    """

    name: str
    turn: Callable[[], Awaitable[None]]
    topic: str | None = None
    wake: Callable[[], None] = lambda: None
    stop: Callable[[], None] = lambda: None
    drained: Callable[[], Awaitable[None]] = _nothing
    workers: Callable[[int], None] = lambda _count: None


@dataclass(frozen=True, slots=True)
class CronJob:
    """Work that one worker does at times given by a cron expression, within `timeout`."""

    name: str
    cron: str
    run: Callable[[], Awaitable[None]]
    timeout: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The worker process in which a noun works: its name, and Redis for limits that all workers share.

    `has_contracts` tells whether contracts of migrations are still to be run: until then an earlier version may write.
    """

    installation: Installation
    name: str
    redis: Redis
    has_contracts: Callable[[AsyncConnection], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a noun does in a worker."""

    loops: Sequence[Loop] = ()
    jobs: Sequence[CronJob] = ()


# ─── Counters ─────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Counter:
    """How many events of a kind there were, by label, minute and day (core/counters.py).

    `log` is a table of events as core/live/event_log.py describes it. `labels` and `condition` are SQL over its
    columns: the parts of the label, which is written as `SMS/DELIVERED`, and which rows are counted. Neither may hold
    personal data; a change of either applies to events that are not yet counted.
    """

    name: str
    title: str
    log: Table
    labels: Sequence[str]
    condition: str = "true"


# ─── Personal data ────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class PersonStep:
    """One step about a person's data in the caller's transaction: at most `limit` objects of one tenant."""

    connection: AsyncConnection
    sealer: Sealer
    tenant_id: UUID
    person: Person
    limit: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What one step erased: the objects, how many of them it canceled, and the changes to publish after the commit.

    `has_more` asks for another step before names and webhooks are searched. `waits` keeps the erasure open, and asks
    for another step in a moment, since something about the person is under way.
    """

    objects: Sequence[SubjectKey] = ()
    canceled: int = 0
    has_more: bool = False
    waits: bool = False
    changes: Sequence[Change] = ()


class DataKind(StrEnum):
    """A kind of data with an age limit: the settings RETENTION_CONTENT_DAYS and RETENTION_ADDRESSES_DAYS."""

    CONTENT = "content"
    ADDRESSES = "addresses"


@dataclass(frozen=True, slots=True)
class ExpiryStep:
    """One step of deleting by age in the caller's transaction, of all tenants: at most `limit` objects.

    Only objects that last changed longer ago than `age` are touched; `since` is where the step before ended.
    """

    connection: AsyncConnection
    sealer: Sealer
    age: timedelta
    since: datetime | None
    limit: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many objects one step emptied, and where the next begins; fewer than the step's limit were the last."""

    objects: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Expired:
    """How a noun deletes one kind of data by age: the oldest first, what is in use never."""

    kind: DataKind
    forget: Callable[[ExpiryStep], Awaitable[Forgotten]]


@dataclass(frozen=True, slots=True)
class SealedWork:
    """Work that cannot be done where a sealed column cannot be opened: its rows that are due, by the column `due_at`.

    `condition` is SQL: which rows of the column's table wait to be worked on.
    """

    sealed: Column[Any]
    condition: str


async def _erase_nothing(_step: PersonStep) -> Erased:
    return Erased()


async def _no_names(_step: PersonStep) -> int:
    return 0


async def _export_nothing(_step: PersonStep, _after: UUID | None) -> Sequence[Mapping[str, Any]]:
    return ()


@dataclass(frozen=True, slots=True)
class PersonalData:
    """How a noun erases, exports and expires what it holds of people. Sealed columns are found in its tables.

    `erase` erases the next objects of a person; the webhooks about these objects are erased with them. It calls no
    provider: such calls follow after the commit, from work that it writes. `erase_names` removes the person from what
    belongs to others, such as names and lists, and says from how many; it is called once the objects are erased, and
    perhaps again. `export` returns the next objects of a person with ids above `after`, in the order of their ids, as
    JSON values with `type` and `id`; none where there are no more. `work` is looked at for keys that are missing.
    """

    erase: Callable[[PersonStep], Awaitable[Erased]] = _erase_nothing
    erase_names: Callable[[PersonStep], Awaitable[int]] = _no_names
    export: Callable[[PersonStep, UUID | None], Awaitable[Sequence[Mapping[str, Any]]]] = _export_nothing
    expired: Sequence[Expired] = ()
    work: Sequence[SealedWork] = ()


# ─── The noun ─────────────────────────────────────────────────────────────


def _no_work(_context: WorkerContext) -> WorkerPlan:
    return WorkerPlan()


@dataclass(frozen=True, slots=True)
class Noun:
    """All that a noun contributes; `name` is its package in core."""

    name: str
    events: Sequence[EventType[Any]] = ()
    owners: Sequence[Owner] = ()
    resources: Sequence[TenantResource] = ()
    subjects: Sequence[Subject] = ()
    changes: Sequence[ChangeKind] = ()
    worker: Callable[[WorkerContext], WorkerPlan] = _no_work
    personal_data: PersonalData | None = None
    counters: Sequence[Counter] = ()
