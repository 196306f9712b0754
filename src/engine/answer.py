"""What comes of an operation: how far it came, and the bytes to send."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


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
    """A GraphQL response, written already: who makes it decides how, and nobody after it looks inside."""

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
