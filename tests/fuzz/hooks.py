"""Hooks for schemathesis, which loads them by name: our scalars, `@oneOf`, and which errors are the caller's."""

from dataclasses import replace
from typing import Any

import schemathesis
from graphql import (
    DocumentNode,
    GraphQLInputObjectType,
    NullValueNode,
    ObjectValueNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    VisitorAction,
    build_schema,
    get_named_type,
    validate,
    visit,
)
from hypothesis import strategies as st
from schemathesis.graphql import nodes

from tests.house.sources import ROOT

DIGITS = st.text("0123456789", min_size=8, max_size=8)
NAMES = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
# A wrong value of the right type, or a request that is too large: refused, and nothing was done.
OF_THE_CALLER = {"INVALID_INPUT", "LIMIT_EXCEEDED"}

schema = build_schema((ROOT / "schema.graphql").read_text())
schemathesis.graphql.scalar("PhoneNumber", DIGITS.map(lambda digits: f"+55119{digits}").map(nodes.String))
schemathesis.graphql.scalar("EmailAddress", NAMES.map(lambda name: f"{name}@example.com").map(nodes.String))


class OneOf(Visitor):
    """Keeps one member that is not null in each value of a `@oneOf` input."""

    def __init__(self, types: TypeInfo) -> None:
        super().__init__()
        self._types = types

    def enter_object_value(self, node: ObjectValueNode, *_: Any) -> VisitorAction:
        """Shorten a value."""
        wanted = get_named_type(self._types.get_input_type())
        if isinstance(wanted, GraphQLInputObjectType) and wanted.is_one_of:
            return replace(
                node, fields=tuple(field for field in node.fields if not isinstance(field.value, NullValueNode))[:1]
            )
        return None


@schemathesis.hook
def map_body(_context: Any, body: DocumentNode) -> DocumentNode:
    """Make a document obey `@oneOf`."""
    types = TypeInfo(schema)
    kept: DocumentNode = visit(body, TypeInfoVisitor(types, OneOf(types)))
    return kept


@schemathesis.hook
def filter_body(context: Any, body: DocumentNode) -> bool:
    """Skip documents in which no member was left."""
    return not validate(schema, map_body(context, body))


@schemathesis.check
def every_error_is_the_callers(_context: Any, response: Any, _case: Any) -> None:
    """Fail for an answer that is neither data nor an error of the caller."""
    answer = response.json()
    assert response.status_code == 200
    for error in answer.get("errors", ()):
        assert error["extensions"]["code"] in OF_THE_CALLER, error
        assert error["extensions"]["requestId"], error
    assert "errors" in answer or answer["data"], answer
