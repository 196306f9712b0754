"""A variable that may be null is no member of a `@oneOf` input, wherever that input stands.

graphql-core's own rule knows this, but overlooks inputs that must be given: of `to: RecipientInput!` it sees the `!`
and not the input behind it. https://spec.graphql.org/draft/#sec-All-Variable-Usages-Are-Allowed
"""

from typing import Any

from graphql import GraphQLError, GraphQLInputObjectType, GraphQLNonNull, NonNullTypeNode, OperationDefinitionNode
from graphql.validation import ValidationContext, ValidationRule


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
