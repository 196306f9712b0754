"""The door to the engine: a document in, a plan or a refusal out."""

from collections.abc import Mapping

from graphql import GraphQLSchema

from engine.documents import Documents, Key, Room
from engine.errors import ErrorCode, ErrorWriter, Translate
from engine.limits import LimitExceeded, Limits
from engine.plan import Refusal
from engine.planning import Planner, refuse
from engine.seam import Compile, Runnable


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
