"""Limits of a document, checked before it is validated or run.

One walk measures depth, fields, root fields, aliases and directives as they are after every fragment is spread. Each
fragment is measured once and then remembered, so a bomb of fragments that spread each other costs no more than its
bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

from engine.errors import ErrorCode

_COUNTED = 1_000_000
# Lists of the introspection system that lead back to types, and so in circles.
_LEADS_BACK = frozenset({"fields", "interfaces", "possibleTypes", "inputFields"})


@dataclass(frozen=True, slots=True)
class Limits:
    """The most a document may have; the names are those clients read in `extensions.limit`."""

    characters: int = 65_536
    tokens: int = 2_000
    comments: int = 200
    operations: int = 10
    fragments: int = 50
    # Braces within braces, fragments and all: far beyond any real document, well within Python's recursion limit.
    nesting: int = 100
    depth: int = 10
    fields: int = 400
    root_fields: int = 20
    aliases: int = 30
    directives: int = 30
    directives_on_a_node: int = 5
    schema_introspections: int = 1
    # Lists within lists below `__schema` or `__type`: the query every tool asks has one.
    introspection_lists: int = 2


class LimitExceeded(GraphQLError):
    """A document has more of something than it may."""

    def __init__(self, limit: str, found: int | None, allowed: int, node: Node | None = None) -> None:
        words = limit.replace("_", " ")
        counted = "too many" if found is None else found
        name = "".join(word.capitalize() if place else word for place, word in enumerate(limit.split("_")))
        over = None if found is None else found - allowed
        super().__init__(
            f"The document exceeds a limit: {words} {counted}, allowed {allowed}.",
            node,
            extensions={
                "code": ErrorCode.LIMIT_EXCEEDED,
                "limit": name,
                "found": found,
                "allowed": allowed,
                "over": over,
            },
        )


@dataclass(frozen=True, slots=True)
class Measure:
    """How much a selection asks for, all fragments spread.

    `lists` counts what would be lists within lists if this stood below `__schema` or `__type`.
    """

    depth: int = 0
    fields: int = 0
    root_fields: int = 0
    aliases: int = 0
    directives: int = 0
    directives_on_a_node: int = 0
    schema_introspections: int = 0
    introspection_lists: int = 0
    lists: int = 0

    def beside(self, other: "Measure") -> "Measure":
        """Measure two selections of the same parent."""
        return Measure(
            depth=max(self.depth, other.depth),
            fields=self.fields + other.fields,
            root_fields=self.root_fields + other.root_fields,
            aliases=self.aliases + other.aliases,
            directives=self.directives + other.directives,
            directives_on_a_node=max(self.directives_on_a_node, other.directives_on_a_node),
            schema_introspections=self.schema_introspections + other.schema_introspections,
            introspection_lists=max(self.introspection_lists, other.introspection_lists),
            lists=max(self.lists, other.lists),
        )


class Ruler:
    """Measures the operations of one document; `visited` counts the selections looked at."""

    def __init__(self, document: DocumentNode, limits: Limits) -> None:
        definitions = document.definitions
        self._nesting = limits.nesting
        self._fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
        self._measured: dict[str, Measure] = {}
        self.visited = 0

    def measure(self, operation: OperationDefinitionNode) -> Measure:
        """Measure an operation."""
        variables = operation.variable_definitions or ()
        own = _directives(operation, *variables)
        return own.beside(self._selection_set(operation.selection_set, 1))

    def measure_fragment(self, name: str, nesting: int = 1) -> Measure:
        """Measure a fragment once; one that is missing or spreads itself adds nothing, validation names it."""
        if name not in self._measured:
            self._measured[name] = Measure()
            if fragment := self._fragments.get(name):
                measure = _directives(fragment).beside(self._selection_set(fragment.selection_set, nesting))
                if fragment.type_condition.name.value.startswith("__"):
                    measure = replace(measure, depth=0)
                self._measured[name] = measure
        return self._measured[name]

    def _selection_set(self, selection_set: SelectionSetNode | None, nesting: int) -> Measure:
        total = Measure()
        if selection_set is None:
            return total
        if nesting > self._nesting:
            raise LimitExceeded("nesting", nesting, self._nesting, selection_set)
        for selection in selection_set.selections:
            total = total.beside(self._selection(selection, nesting))
        return total

    def _selection(self, selection: SelectionNode, nesting: int) -> Measure:
        self.visited += 1
        own = _directives(selection)
        if isinstance(selection, FragmentSpreadNode):
            return own.beside(self.measure_fragment(selection.name.value, nesting + 1))
        children = self._selection_set(getattr(selection, "selection_set", None), nesting + 1)
        if not isinstance(selection, FieldNode):
            return own.beside(children)
        name = selection.name.value
        is_introspection = name in ("__schema", "__type")
        return replace(
            own.beside(children),
            # What lies below introspection is as deep as its lists let it be.
            depth=1 if is_introspection else children.depth + 1,
            fields=children.fields + 1,
            root_fields=1,
            aliases=children.aliases + (selection.alias is not None),
            schema_introspections=children.schema_introspections + (name == "__schema"),
            introspection_lists=children.lists if is_introspection else children.introspection_lists,
            lists=children.lists + (name in _LEADS_BACK),
        )


def exceeded(document: DocumentNode, limits: Limits) -> LimitExceeded | None:
    """Find the first limit a parsed document goes beyond."""
    try:
        return next(_excesses(document, limits), None)
    except LimitExceeded as error:
        return error


def _excesses(document: DocumentNode, limits: Limits) -> Iterator[LimitExceeded]:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
    if len(operations) > limits.operations:
        yield LimitExceeded("operations", len(operations), limits.operations)
    if len(fragments) > limits.fragments:
        yield LimitExceeded("fragments", len(fragments), limits.fragments)
    ruler = Ruler(document, limits)
    # Fragments that are never spread are measured too, since validation would have to look at them; they have no root.
    for fragment in fragments:
        measure = ruler.measure_fragment(fragment.name.value)
        yield from _beyond(replace(measure, root_fields=0), fragment, limits)
    for operation in operations:
        yield from _beyond(ruler.measure(operation), operation, limits)


def _beyond(measure: Measure, node: Node, limits: Limits) -> Iterator[LimitExceeded]:
    for limit, found in asdict(measure).items():
        allowed: int | None = getattr(limits, limit, None)
        if allowed is not None and found > allowed:
            # A bomb has more fields than JSON has whole numbers.
            yield LimitExceeded(limit, found if found < _COUNTED else None, allowed, node)


def _directives(*nodes: Node) -> Measure:
    counts: Sequence[int] = [len(getattr(node, "directives", None) or ()) for node in nodes]
    return Measure(directives=sum(counts), directives_on_a_node=max(counts))
