"""Closed introspection: what a stranger may ask about the schema itself.

`__schema` is refused; `__type` answers with name and kind alone, which the official audit of GraphQL over HTTP needs.
"""

from typing import Any

from graphql import SKIP, FieldNode, GraphQLError, VisitorAction
from graphql.validation import ASTValidationRule, ValidationContext, ValidationRule, specified_rules

from engine.one_of import OneOfTakesNoNull

_ALLOWED_OF_A_TYPE = frozenset({"__typename", "name", "kind"})


class ClosedIntrospection(ValidationRule):
    """Refuses everything about the schema but a type's name and kind."""

    context: ValidationContext

    def enter_field(self, node: FieldNode, *_args: Any) -> VisitorAction:
        """Refuse a field of the introspection system."""
        name = node.name.value
        parent = self.context.get_parent_type()
        inside = parent is not None and parent.name.startswith("__")
        if name != "__schema" and not (inside and name not in _ALLOWED_OF_A_TYPE):
            return None
        self.report_error(GraphQLError(f"Introspection is closed here: '{name}' cannot be asked for.", node))
        return SKIP


OPEN_RULES: tuple[type[ASTValidationRule], ...] = (*specified_rules, OneOfTakesNoNull)
CLOSED_RULES: tuple[type[ASTValidationRule], ...] = (*OPEN_RULES, ClosedIntrospection)
