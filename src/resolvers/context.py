"""The context of every resolver: the caller, services, batched loaders, and which fields were selected."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.types.nodes import FragmentSpread, InlineFragment, SelectedField, Selection

from core.access.api_key_lookup import ApiKeyVerifier
from core.audit.act import Act
from core.database import Database
from core.dead_letters.subjects import Subjects
from core.errors import Unauthenticated, Unreadable
from core.inbox import queries as webhooks
from core.inbox.queries import Json
from core.live.change_feed import ChangeFeeds
from core.messages import batch, queries
from core.messages.accept import Outbox
from core.messages.batch import Batch, Counts
from core.messages.queries import SEALED, AttemptView, EventSlice, EventView
from core.nouns import Installation
from core.operations.dashboard import DashboardReader, TimeWindow
from core.operations.health import Health, HealthReader, IntegrationView
from core.ports.identity import Principal, Scope
from core.providers.circuit import Circuits, CircuitView
from core.providers.ledger import CallSummary, summarize
from core.pubsub import Hub
from core.rate_limit import BudgetResult
from core.sealing import Sealer
from core.templates import queries as templates
from core.templates.tables import Template
from core.words import Translator, say


@dataclass(frozen=True, slots=True)
class Services:
    """The services that resolvers use; `feeds` are by the kind of the objects whose changes they read."""

    installation: Installation
    database: Database
    sealer: Sealer
    hub: Hub
    outbox: Outbox
    integrations: Mapping[str, IntegrationView]
    circuits: Circuits
    feeds: Mapping[str, ChangeFeeds[Any]]
    health: HealthReader
    dashboards: DashboardReader
    key_ring: ApiKeyVerifier
    interpreter: Translator
    subjects: Subjects


@dataclass(slots=True)
class Context:
    """One operation's context; `principal` is None for a caller without credentials.

    `languages` are those the client reads, best first, as in `pt-br`; none if it does not say. `rate_limit` is what the
    caller has left after this operation; None for one without an account.
    """

    services: Services
    principal: Principal | None
    request_id: str
    languages: Sequence[str] = ()
    rate_limit: BudgetResult | None = None
    _act: Act | None = field(default=None, init=False)
    _attempts: "DataLoader[UUID, list[AttemptView]] | None" = field(default=None, init=False)
    _messages: "DataLoader[tuple[UUID, frozenset[str]], queries.Message | None] | None" = field(
        default=None, init=False
    )
    _events: "DataLoader[tuple[UUID, EventSlice], list[EventView]] | None" = field(default=None, init=False)
    _circuits: "DataLoader[str, CircuitView] | None" = field(default=None, init=False)
    _calls: "DataLoader[tuple[str, TimeWindow], CallSummary] | None" = field(default=None, init=False)
    _healths: "DataLoader[str, Health] | None" = field(default=None, init=False)
    _templates: "DataLoader[UUID, Template | None] | None" = field(default=None, init=False)
    _payloads: "DataLoader[UUID, Json] | None" = field(default=None, init=False)
    _batches: "DataLoader[UUID, Batch | None] | None" = field(default=None, init=False)
    _counts: "DataLoader[UUID, Counts] | None" = field(default=None, init=False)

    def in_words(self, error: Mapping[str, Any]) -> Mapping[str, Any]:
        """Say an error of the top level in the caller's language."""
        return self.services.interpreter.describe(error, self.languages)

    def require(self, scope: Scope) -> Principal:
        """Name the caller if it may do this; raises NotAllowed."""
        if self.principal is None:
            raise _unknown()
        return self.principal.require(scope)

    @property
    def allowance(self) -> BudgetResult:
        """What the caller has left, who has an account: operations of such are paid for before they run."""
        if self.rate_limit is None:
            raise LookupError("The cost of this operation was not charged.")
        return self.rate_limit

    def begin_act(self, action: str) -> Act | None:
        """Begin a mutation of the caller's; None for a caller without credentials. They run one after another."""
        self._act = None if self.principal is None else Act.of(self.principal, action, self.request_id)
        return self._act

    @property
    def act(self) -> Act:
        """The mutation under way, for the audit log."""
        if self._act is None:
            raise LookupError("there is no actor outside a mutation")
        return self._act

    # An operation can be a subscription that lives for hours: loaders batch, and remember nothing.

    @property
    def attempts(self) -> "DataLoader[UUID, list[AttemptView]]":
        if self._attempts is None:
            self._attempts = DataLoader(self._load_attempts, cache=False)
        return self._attempts

    @property
    def events(self) -> "DataLoader[tuple[UUID, EventSlice], list[EventView]]":
        if self._events is None:
            self._events = DataLoader(self._load_events, cache=False)
        return self._events

    @property
    def circuits(self) -> "DataLoader[str, CircuitView]":
        if self._circuits is None:
            self._circuits = DataLoader(self._load_circuits, cache=False)
        return self._circuits

    async def _load_circuits(self, names: list[str]) -> list[CircuitView]:
        found = await self.services.circuits.read(names)
        return [found[name] for name in names]

    @property
    def calls(self) -> "DataLoader[tuple[str, TimeWindow], CallSummary]":
        """The calls to integrations in windows, by the integration's name."""
        if self._calls is None:
            self._calls = DataLoader(self._load_calls, cache=False)
        return self._calls

    async def _load_calls(self, keys: list[tuple[str, TimeWindow]]) -> list[CallSummary]:
        tenant = self.require(Scope.OPERATIONS_READ).tenant_id
        async with self.services.database.transaction(tenant) as connection:
            found = {window: await summarize(connection, window.span) for window in {window for _, window in keys}}
        return [found[window].get(name, CallSummary()) for name, window in keys]

    @property
    def healths(self) -> "DataLoader[str, Health]":
        if self._healths is None:
            self._healths = DataLoader(self._load_healths, cache=False)
        return self._healths

    async def _load_healths(self, names: list[str]) -> list[Health]:
        if self.principal is None:
            raise _unknown()
        found = await self.services.health.read(self.principal.tenant_id)
        return [found.by_name[name] for name in names]

    @property
    def templates(self) -> "DataLoader[UUID, Template | None]":
        if self._templates is None:
            self._templates = DataLoader(self._load_templates, cache=False)
        return self._templates

    async def _load_templates(self, ids: list[UUID]) -> list[Template | None]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        async with self.services.database.transaction(tenant) as connection:
            found = await templates.templates_by_id(connection, tenant, ids)
        return [found.get(one) for one in ids]

    @property
    def messages(self) -> "DataLoader[tuple[UUID, frozenset[str]], queries.Message | None]":
        """Messages by id, each with the sealed parts that are asked for."""
        if self._messages is None:
            self._messages = DataLoader(self._load_messages, cache=False)
        return self._messages

    @property
    def payloads(self) -> "DataLoader[UUID, Json]":
        """What providers sent, redacted, by the webhook's id; opened for those only that are asked for."""
        if self._payloads is None:
            self._payloads = DataLoader(self._load_payloads, cache=False)
        return self._payloads

    async def _load_messages(self, keys: list[tuple[UUID, frozenset[str]]]) -> list[queries.Message | None]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        # Asked for in different places with different parts: each is read once, with all of them.
        ids, sealed = {one for one, _ in keys}, frozenset[str]().union(*(parts for _, parts in keys))
        async with self.services.database.transaction(tenant) as connection:
            found = await queries.messages_by_id(connection, self.services.sealer, tenant, ids, sealed=sealed)
        return [found.get(one) for one, _ in keys]

    async def _load_payloads(self, ids: list[UUID]) -> "list[Json | Unreadable]":
        tenant = self.require(Scope.OPERATIONS_READ).tenant_id
        async with self.services.database.transaction(tenant) as connection:
            found = await webhooks.webhook_payloads(connection, self.services.sealer, tenant, set(ids))
        return [found.get(one) for one in ids]

    @property
    def batches(self) -> "DataLoader[UUID, Batch | None]":
        if self._batches is None:
            self._batches = DataLoader(self._load_batches, cache=False)
        return self._batches

    @property
    def counts(self) -> "DataLoader[UUID, Counts]":
        if self._counts is None:
            self._counts = DataLoader(self._load_counts, cache=False)
        return self._counts

    async def _load_batches(self, ids: list[UUID]) -> list[Batch | None]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        async with self.services.database.transaction(tenant) as connection:
            found = await batch.batches_of(connection, tenant, ids)
        return [found.get(one) for one in ids]

    async def _load_counts(self, ids: list[UUID]) -> list[Counts]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        async with self.services.database.transaction(tenant) as connection:
            found = await batch.counts_of(connection, tenant, ids)
        return [found.get(one, Counts({}, None)) for one in ids]

    async def _load_attempts(self, ids: list[UUID]) -> list[list[AttemptView]]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        async with self.services.database.transaction(tenant) as connection:
            found = await queries.attempts_of(connection, self.services.sealer, tenant, ids)
        return [found.get(one, []) for one in ids]

    async def _load_events(self, keys: list[tuple[UUID, EventSlice]]) -> list[list[EventView]]:
        tenant = self.require(Scope.MESSAGES_READ).tenant_id
        found: dict[tuple[UUID, EventSlice], list[EventView]] = {}
        async with self.services.database.transaction(tenant) as connection:
            # One statement for each distinct slice asked for, which in one operation are few.
            for which in {which for _, which in keys}:
                ids = [one for one, asked in keys if asked == which]
                for one, events in (await queries.events_of(connection, tenant, ids, which)).items():
                    found[one, which] = events
        return [found.get(key, []) for key in keys]


def _unknown() -> Unauthenticated:
    return Unauthenticated(
        say("CREDENTIALS_MISSING", "This needs credentials. Send the header 'Authorization: Bearer <token>'.")
    )


Info = strawberry.Info[Context, Any]


# Which fields an operation selects, so that core reads sealed columns only if they are needed.


def sealed_asked_for(info: Info) -> frozenset[str]:
    """The sealed parts of a message that are selected anywhere below this field."""
    return frozenset(SEALED) & frozenset(_names(info.selected_fields))


def _names(selections: Iterable[Selection]) -> Iterator[str]:
    for selection in selections:
        if isinstance(selection, SelectedField):
            yield selection.name
        if isinstance(selection, SelectedField | FragmentSpread | InlineFragment):
            yield from _names(selection.selections)
