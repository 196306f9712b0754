"""What comes of an operation, ready to be written as bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class Outcome(StrEnum):
    """How far an operation came.

    MALFORMED: it cannot be told what was asked. REFUSED: it is known and was not begun (syntax, validation, limits,
    variables). EXECUTED: it was begun, whatever became of it.
    """

    MALFORMED = "MALFORMED"
    REFUSED = "REFUSED"
    EXECUTED = "EXECUTED"


@dataclass(frozen=True, slots=True)
class Answer:
    """A GraphQL response; `errors` are described as the specification wants them."""

    outcome: Outcome
    data: Mapping[str, Any] | None = None
    errors: Sequence[Mapping[str, Any]] = ()

    def encode(self) -> bytes:
        """Write the response as JSON; what was not begun has no `data`."""
        response: dict[str, Any] = {"errors": self.errors} if self.errors else {}
        if self.outcome is Outcome.EXECUTED:
            response["data"] = self.data
        return orjson.dumps(response)
