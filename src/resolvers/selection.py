"""Which fields an operation asks for, so that core reads no sealed column for nothing."""

from collections.abc import Iterable, Iterator

from strawberry.types.nodes import FragmentSpread, InlineFragment, SelectedField, Selection

from core.messages.queries import SEALED
from resolvers.context import Info


def sealed_asked_for(info: Info) -> frozenset[str]:
    """The sealed parts of a message that are selected anywhere below this field."""
    return frozenset(SEALED) & frozenset(_names(info.selected_fields))


def _names(selections: Iterable[Selection]) -> Iterator[str]:
    for selection in selections:
        if isinstance(selection, SelectedField):
            yield selection.name
        if isinstance(selection, SelectedField | FragmentSpread | InlineFragment):
            yield from _names(selection.selections)
