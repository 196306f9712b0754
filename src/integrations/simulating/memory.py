"""A company's memory on paper: what it hands out and takes back, told apart from anything else."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Books = TypeVar("Books")
_CENTURY = 100 * 366 * 86_400

WHOLE = ConfigDict(extra="forbid")
"""For what is kept in books: a field nobody here knows is a sign of another version."""


class Memory(BaseModel, frozen=True, extra="forbid"):
    """Whose memory it is, the version it is written in, how far the clock was ahead, in seconds, and the books."""

    company: str
    version: int
    ahead: float = Field(ge=0, le=_CENTURY, allow_inf_nan=False)
    books: dict[str, Any]


def written(books: object) -> dict[str, Any]:
    """The books as JSON."""
    shown: dict[str, Any] = TypeAdapter(type(books)).dump_python(books, mode="json")
    return shown


def read(kind: type[Books], books: dict[str, Any]) -> Books:
    """Read what `written` gave, and nothing else: raises pydantic's ValidationError."""
    return TypeAdapter(kind).validate_python(books)
