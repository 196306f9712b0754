"""Relay pagination: checks the four arguments and makes the page info."""

from dataclasses import dataclass
from uuid import UUID

import strawberry

from core.errors import InputRule, InvalidInput
from core.pagination import PageRequest
from core.words import say
from resolvers.fields import given
from resolvers.global_ids import to_global_id, uuid_of

DEFAULT_SIZE = 25
MAX_SIZE = 100


@strawberry.type(description="The position of a page in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether there are items after this page.")
    has_previous_page: bool = strawberry.field(description="Whether there are items before this page.")
    start_cursor: str | None = strawberry.field(description="Pass as `before` to read the page before this one.")
    end_cursor: str | None = strawberry.field(description="Pass as `after` to read the page after this one.")


@dataclass(frozen=True, slots=True)
class PageArguments:
    """How many items, and from which end."""

    limit: int
    is_backward: bool

    def page_info(self, cursors: list[str], *, has_more: bool, has_cursor: bool) -> PageInfo:
        """Describe the page read: on the side it came from there are items exactly when a cursor was given."""
        return PageInfo(
            has_next_page=has_cursor if self.is_backward else has_more,
            has_previous_page=has_more if self.is_backward else has_cursor,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )


def page_arguments(first: int | None, last: int | None) -> PageArguments:
    """Check `first` and `last`; raises InvalidInput."""
    if first is not None and last is not None:
        text = say("FIRST_AND_LAST", "Give `first` or `last`, not both.")
        raise InvalidInput(text, path=["last"], rule=InputRule.NOT_ALLOWED)
    name = "first" if last is None else "last"
    size = first if last is None else last
    if size is not None and not 0 <= size <= MAX_SIZE:
        text = say("PAGE_SIZE", "`{name}` must be from 0 to {most}.", name=name, most=MAX_SIZE)
        raise InvalidInput(text, path=[name], rule=InputRule.OUT_OF_RANGE)
    return PageArguments(DEFAULT_SIZE if size is None else size, is_backward=last is not None)


def write_cursor(cursor_type: str, key: UUID) -> str:
    """Make the cursor of an item whose place is its id."""
    return to_global_id(cursor_type, key.bytes)


def slice_of(
    first: int | None, after: str | None, last: int | None, before: str | None, cursor_type: str
) -> PageRequest:
    """Read Relay's four arguments for a list in the order of ids; raises InvalidInput."""
    page = page_arguments(given(first), given(last))
    return PageRequest(
        page.limit,
        _read_cursor(given(after), cursor_type, "after"),
        _read_cursor(given(before), cursor_type, "before"),
        page.is_backward,
    )


def page_info_of(which: PageRequest, cursors: list[str], *, has_more: bool) -> PageInfo:
    """Describe the page that was read for a slice."""
    has_cursor = (which.before if which.is_backward else which.after) is not None
    return PageArguments(which.limit, which.is_backward).page_info(cursors, has_more=has_more, has_cursor=has_cursor)


def _read_cursor(cursor: str | None, cursor_type: str, name: str) -> UUID | None:
    if cursor is None:
        return None
    found = uuid_of(cursor, cursor_type)
    if found is None:
        raise bad_cursor(name)
    return found


def bad_cursor(name: str) -> InvalidInput:
    """The error for a cursor that no page of ours has given out."""
    text = say("CURSOR_UNKNOWN", "`{name}` is not a cursor of this list.", name=name)
    return InvalidInput(text, path=[name], rule=InputRule.MALFORMED)
