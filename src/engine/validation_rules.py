"""Our own validation rules: null in `@oneOf` inputs, and closed introspection.

graphql-core's own rule knows this, but overlooks inputs that must be given: of `to: RecipientInput!` it sees the `!`
and not the input behind it. https://spec.graphql.org/draft/#sec-All-Variable-Usages-Are-Allowed
"""

from typing import Any

from graphql import (
    SKIP,
    FieldNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLNonNull,
    NonNullTypeNode,
    OperationDefinitionNode,
    VisitorAction,
)
from graphql.validation import ASTValidationRule, ValidationContext, ValidationRule, specified_rules


class OneOfTakesNoNull(ValidationRule):
    """Refuses variables that may be null as members of `@oneOf` inputs that must be given."""

    context: ValidationContext

    def leave_operation_definition(self, operation: OperationDefinitionNode, *_args: Any) -> None:
        """Look at every place an operation and its fragments use a variable."""
        defined = {one.variable.name.value: one for one in operation.variable_definitions or ()}
        for usage in self.context.get_recursive_variable_usages(operation):
            definition, parent = defined.get(usage.node.name.value), usage.parent_type
            if definition is None or isinstance(definition.type, NonNullTypeNode):
                continue
            inside = parent.of_type if isinstance(parent, GraphQLNonNull) else None
            if isinstance(inside, GraphQLInputObjectType) and inside.is_one_of:
                words = f"Variable '${usage.node.name.value}' must be non-nullable to be used for OneOf Input Object"
                self.report_error(GraphQLError(f"{words} '{inside}'.", [definition, usage.node]))


# Closed introspection: what a caller without rights may read of the schema.
#
# `__schema` is refused; `__type` answers with name and kind alone, which the official audit of GraphQL over HTTP
# needs.


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
