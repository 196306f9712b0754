"""The result of an operation: its outcome and the bytes to send; and results shared by equal subscriptions."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from graphql import DocumentNode, FieldNode, Node, OperationDefinitionNode, VariableNode, Visitor, visit


class Outcome(StrEnum):
    """How far an operation came.

    MALFORMED: it cannot be told what was asked. REFUSED: it is known and was not begun (syntax, validation, limits,
    variables). EXHAUSTED: it is in order, and its caller has asked for too much already. EXECUTED: it was begun,
    whatever became of it.
    """

    MALFORMED = "MALFORMED"
    REFUSED = "REFUSED"
    EXHAUSTED = "EXHAUSTED"
    EXECUTED = "EXECUTED"


@dataclass(frozen=True, slots=True)
class Answer:
    """A GraphQL response, written already: its maker decides how, and no later step looks inside."""

    outcome: Outcome
    body: bytes

    @classmethod
    def of(
        cls, outcome: Outcome, data: Mapping[str, Any] | None = None, errors: Sequence[Mapping[str, Any]] = ()
    ) -> "Answer":
        """Write the response as JSON; what was not begun has no `data`."""
        response: dict[str, Any] = {"errors": errors} if errors else {}
        if outcome is Outcome.EXECUTED:
            response["data"] = data
        return cls(outcome, orjson.dumps(response))

    @property
    def data(self) -> Mapping[str, Any] | None:
        """Read the data out of the bytes again."""
        found: Mapping[str, Any] | None = orjson.loads(self.body).get("data")
        return found

    @property
    def errors(self) -> Sequence[Mapping[str, Any]]:
        """Read the errors out of the bytes again: described as the specification wants them."""
        found: Sequence[Mapping[str, Any]] = orjson.loads(self.body).get("errors", [])
        return found


# One execution for equal subscriptions: they share the result for an event.
#
# What a subscription's source yields may have an attribute `occasion`: the thing that happened, one object however
# many
# subscribers are told of it. Equal subscriptions with the same rights then get the same bytes, written once. An
# occasion that is no longer referenced takes its answers with it.


Answers = dict[Hashable, asyncio.Task[Answer]]


class Sharing:
    """Keeps what one operation answered on each occasion, by variables and authority."""

    def __init__(self, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._names = telling_variables(document, operation)
        self._told: WeakKeyDictionary[Any, Answers] = WeakKeyDictionary()

    def key_of(self, variables: Mapping[str, Any] | None, authority: Hashable) -> Hashable:
        """Make the key under which answers are shared."""
        told = {name: value for name, value in (variables or {}).items() if name in self._names}
        return authority, orjson.dumps(told, option=orjson.OPT_SORT_KEYS)

    async def once(self, occasion: object, key: Hashable, execute: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Execute for the first who is told, and give the others the same."""
        answers = self._told.setdefault(occasion, {})
        task = answers.get(key)
        if task is None:
            task = answers[key] = asyncio.create_task(execute())
        # A subscriber that leaves in the middle must not take the answer from the others.
        return task.result() if task.done() else await asyncio.shield(task)


def telling_variables(document: DocumentNode, operation: OperationDefinitionNode) -> frozenset[str]:
    """Name the variables that decide what is told of an occasion.

    Those that stand only in the subscription field's own arguments choose the occasions and are not among them.
    """
    finder = _Finder()
    for selection in operation.selection_set.selections:
        if isinstance(selection, FieldNode):
            inner: tuple[Node | None, ...] = (*(selection.directives or ()), selection.selection_set)
            for node in filter(None, inner):
                visit(node, finder)
        else:
            visit(selection, finder)
    for definition in document.definitions:
        if definition is not operation and not isinstance(definition, OperationDefinitionNode):
            visit(definition, finder)
    return frozenset(finder.names)


class _Finder(Visitor):
    """Notes every variable it comes by."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.names.add(node.name.value)
