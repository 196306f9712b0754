"""Pages: Relay's four arguments, checked, and what a page says of itself."""

from dataclasses import dataclass

import strawberry

from core.errors import InputRule, InvalidInput

DEFAULT_SIZE = 25
MAX_SIZE = 100


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Are there items after this page?")
    has_previous_page: bool = strawberry.field(description="Are there items before this page?")
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
        raise InvalidInput("Give `first` or `last`, not both.", path=["last"], rule=InputRule.NOT_ALLOWED)
    name = "first" if last is None else "last"
    size = first if last is None else last
    if size is not None and not 0 <= size <= MAX_SIZE:
        raise InvalidInput(f"`{name}` is from 0 to {MAX_SIZE}.", path=[name], rule=InputRule.OUT_OF_RANGE)
    return PageArguments(DEFAULT_SIZE if size is None else size, is_backward=last is not None)


def bad_cursor(name: str) -> InvalidInput:
    """The error for a cursor that no page of ours has given out."""
    return InvalidInput(f"`{name}` is no cursor of this list.", path=[name], rule=InputRule.MALFORMED)
