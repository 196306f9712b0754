"""The engine: finds or makes the plan of a document, and caches documents and plans."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

from cachetools import LRUCache
from graphql import (
    DocumentNode,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    GraphQLSyntaxError,
    OperationDefinitionNode,
    parse,
    validate,
)

from engine.answer import Outcome, Sharing
from engine.cost import Pricer
from engine.errors import ErrorCode, ErrorWriter, Translate, describe
from engine.groundwork import Groundwork
from engine.limits import LimitExceeded, Limits, exceeded
from engine.plan import Compile, Plan, Refusal, Runnable
from engine.validation_rules import CLOSED_RULES, OPEN_RULES

_LONG = 512

K = TypeVar("K")
T = TypeVar("T")


class Key(NamedTuple):
    """What a plan depends on; `document` is the text, or its digest where the text is long."""

    document: str | bytes
    operation_name: str | None
    introspection: bool

    @classmethod
    def of(cls, text: str, operation_name: str | None, introspection: bool) -> "Key":
        """Make the key of a document."""
        # A lone surrogate cannot be encoded and never parses, but it can be asked for.
        document = text if len(text) < _LONG else blake2b(text.encode(errors="surrogatepass"), digest_size=32).digest()
        return cls(document, operation_name, introspection)


@dataclass(frozen=True, slots=True)
class Room:
    """How much is kept: entries, and characters of the documents they came from."""

    entries: int = 512
    # A parsed document weighs up to 200 bytes for each of its characters.
    characters: int = 524_288


class Shelf(Generic[K, T]):
    """An LRU cache with a limit of entries and one of characters."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._kept: LRUCache[K, tuple[T, int]] = LRUCache(room.characters, getsizeof=lambda kept: kept[1])

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: K) -> T | None:
        """Take what is kept under a key."""
        found = self._kept.get(key)
        return None if found is None else found[0]

    def keep(self, key: K, value: T, characters: int) -> None:
        """Keep a value and evict what was not used for longest; one larger than the cache is not kept."""
        if characters > self._room.characters:
            return
        self._kept[key] = (value, characters)
        while len(self._kept) > self._room.entries:
            self._kept.popitem()


class Documents:
    """Remembers plans, and apart from them refusals, so that nonsense never drives out what is in use."""

    def __init__(self, plans: Room, refusals: Room) -> None:
        self._plans: Shelf[Key, Runnable] = Shelf(plans)
        self._refusals: Shelf[Key, Refusal] = Shelf(refusals)
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._plans) + len(self._refusals)

    def find(self, key: Key) -> Runnable | Refusal | None:
        """Take what is known about a document."""
        known = self._plans.find(key) or self._refusals.find(key)
        if known:
            self.hits += 1
        else:
            self.misses += 1
        return known

    def keep(self, key: Key, plan: Runnable | Refusal, characters: int) -> None:
        """Remember a document."""
        if isinstance(plan, Refusal):
            self._refusals.keep(key, plan, characters)
        else:
            self._plans.keep(key, plan, characters)


# From the text of a document to a plan: parse, check limits, validate, choose the operation.


_MOST_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes plans for one schema."""

    schema: GraphQLSchema
    errors: ErrorWriter
    limits: Limits
    time_limit: float
    longer: Mapping[str, float]
    compile: Compile | None = None

    def plan(self, text: str, operation_name: str | None, introspection: bool) -> Runnable | Refusal:
        """Make a plan, or say why there can be none."""
        try:
            document = parse(text, max_lexical_tokens=self.limits.tokens, max_comments=self.limits.comments)
        except GraphQLSyntaxError as error:
            return refuse([self._as_limit(error)], ErrorCode.SYNTAX)
        if excess := exceeded(document, self.limits):
            return refuse([excess], ErrorCode.LIMIT_EXCEEDED)
        rules = OPEN_RULES if introspection else CLOSED_RULES
        hide = not introspection
        if errors := validate(self.schema, document, rules, max_errors=_MOST_ERRORS, hide_suggestions=hide):
            return refuse(errors, ErrorCode.VALIDATION)
        operation = choose(document, operation_name)
        if isinstance(operation, GraphQLError):
            return refuse([operation], ErrorCode.OPERATION, Outcome.MALFORMED)
        sharing, price = Sharing(document, operation), Pricer(self.schema, document).price(operation)
        groundwork = Groundwork.of(self.schema, document, operation, hide)
        plan = Plan(groundwork, self._patience(operation), self.errors, sharing, price)
        return (self.compile and self.compile(plan)) or plan

    def _patience(self, operation: OperationDefinitionNode) -> float:
        """Give an operation the longest time that one of its own root fields may take."""
        names = [one.name.value for one in operation.selection_set.selections if isinstance(one, FieldNode)]
        return max([self.time_limit, *(self.longer[name] for name in names if name in self.longer)])

    def _as_limit(self, error: GraphQLSyntaxError) -> GraphQLError:
        # graphql-core has no type of its own for a parser that stops counting.
        for limit in ("tokens", "comments"):
            allowed: int = getattr(self.limits, limit)
            if f"more than {allowed} {limit}" in error.message:
                return LimitExceeded(limit, None, allowed)
        return error


def choose(document: DocumentNode, name: str | None) -> OperationDefinitionNode | GraphQLError:
    """Find the operation to run: the one named, or the only one."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if not operations:
        return GraphQLError("The document has no operation to run.")
    if name is None:
        if len(operations) == 1:
            return operations[0]
        return GraphQLError("The document has several operations; say which to run in operationName.")
    for operation in operations:
        if operation.name and operation.name.value == name:
            return operation
    return GraphQLError("The document has no operation with the name given in operationName.")


def refuse(errors: Iterable[GraphQLError], code: ErrorCode, outcome: Outcome = Outcome.REFUSED) -> Refusal:
    """Refuse a document; the described errors keep nothing of the document alive."""
    return Refusal(outcome, tuple(describe(error, code) for error in errors))


# The engine: takes a document, returns a plan or a refusal.


class Engine:
    """Runs documents against one schema.

    `translate` finds the words for exceptions clients may see; `time_limit` is in seconds and holds for a query, a
    mutation and the beginning of a subscription; `longer` names root fields that may take more. `compile` is asked once
    for each document whether it can run it faster than graphql-core.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        translate: Translate,
        limits: Limits | None = None,
        time_limit: float = 10.0,
        longer: Mapping[str, float] | None = None,
        room: Room | None = None,
        compile: Compile | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.documents = Documents(plans=room or Room(), refusals=Room(entries=256, characters=131_072))
        self._planner = Planner(schema, ErrorWriter(translate), self.limits, time_limit, longer or {}, compile)

    def plan(self, text: str, operation_name: str | None = None, *, introspection: bool = False) -> Runnable | Refusal:
        """Find or make the plan for an operation; `introspection` says whether the schema itself may be asked about."""
        if len(text) > self.limits.characters:
            return refuse([LimitExceeded("characters", len(text), self.limits.characters)], ErrorCode.LIMIT_EXCEEDED)
        key = Key.of(text, operation_name, introspection)
        plan = self.documents.find(key)
        if plan is None:
            plan = self._planner.plan(text, operation_name, introspection)
            self.documents.keep(key, plan, len(text) + len(operation_name or ""))
        return plan
