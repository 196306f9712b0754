"""One execution for all who are told the same: equal subscriptions share what they are told of an occasion.

What a subscription's source yields may have an attribute `occasion`: the thing that happened, one object however many
subscribers are told of it. Whoever asks the same with the same authority then gets the same bytes, written once. An
occasion nobody holds any more takes its answers with it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from graphql import DocumentNode, FieldNode, Node, OperationDefinitionNode, VariableNode, Visitor, visit

from engine.answer import Answer

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
        # Whoever leaves in the middle must not take the answer from the others.
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
