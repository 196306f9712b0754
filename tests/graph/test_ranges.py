"""A range that ends before it begins is refused, by the name of its field, wherever the schema takes one."""

from collections.abc import Iterator

from graphql import GraphQLInputObjectType, get_named_type

from resolvers.schema import build_schema
from tests.graph.callers import Caller

SCHEMA = build_schema()._schema
EARLY, LATE = "2026-07-01T10:00:00Z", "2026-07-01T12:00:00Z"


def ranges() -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Every range of every list's filter: the list, the filter's type, and the paths of its two moments."""
    assert SCHEMA.query_type is not None
    for name, field in SCHEMA.query_type.fields.items():
        filter = field.args.get("filter")
        type_ = get_named_type(filter.type) if filter else None
        for key, inner in type_.fields.items() if isinstance(type_, GraphQLInputObjectType) else ():
            if get_named_type(inner.type).name == "TimeRangeInput":
                yield name, type_.name, [key, "start"], [key, "end"]
            if key == "since":
                yield name, type_.name, ["since"], ["until"]


def nested(path: list[str], value: str, into: dict[str, object]) -> dict[str, object]:
    if len(path) == 1:
        return {**into, path[0]: value}
    inner = into.get(path[0])
    return {**into, path[0]: nested(path[1:], value, inner if isinstance(inner, dict) else {})}


async def test_a_range_that_ends_before_it_begins_is_refused_by_its_fields_name(caller: Caller) -> None:
    found = list(ranges())
    assert {(name, start[0]) for name, _, start, _ in found} >= {
        ("messages", "created"),
        ("webhookDeliveries", "received"),
        ("deadLetters", "failed"),
        ("auditEvents", "since"),
    }
    for name, type_name, start, end in found:
        query = f"query ($filter: {type_name}) {{ {name}(filter: $filter) {{ pageInfo {{ hasNextPage }} }} }}"
        wrong = nested(end, EARLY, nested(start, LATE, {}))
        [error] = (await caller.answer(query, filter=wrong)).errors
        assert error["extensions"]["argument"] == ".".join(["filter", *end]), name
        assert (error["extensions"]["code"], error["extensions"]["rule"]) == ("INVALID_INPUT", "OUT_OF_RANGE")
        assert EARLY in error["message"]
        for fine in (nested(start, EARLY, {}), nested(end, LATE, nested(start, EARLY, {}))):
            await caller.ask(query, filter=fine)
