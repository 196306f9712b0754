"""What an operation is run with, as far as it is the same for every request: found out once, for each plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
    get_variable_values,
)
from graphql.execution.collect_fields import FragmentDetails

from engine.plain import Places, PlainExecutor
from engine.variables import Reader, reader_of

_MOST_ERRORS = 50


@dataclass(frozen=True, slots=True)
class Groundwork:
    """A validated operation, the fragments beside it, and how its variables are read."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: Mapping[str, FragmentDefinitionNode]
    read: Reader
    hide_suggestions: bool
    places: Places = field(default_factory=Places)

    @classmethod
    def of(
        cls, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode, hide_suggestions: bool
    ) -> "Groundwork":
        """Lay it for an operation of a document."""
        fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
        return cls(schema, operation, fragments, reader_of(schema, operation), hide_suggestions)

    def executor(self, variables: Mapping[str, Any], context: object) -> PlainExecutor | list[GraphQLError]:
        """Give what runs it once, or what is wrong with the variables."""
        values = self.read(variables) or get_variable_values(
            self.schema,
            self.operation.variable_definitions or (),
            dict(variables),
            max_errors=_MOST_ERRORS,
            hide_suggestions=self.hide_suggestions,
        )
        if isinstance(values, list):
            return values
        return PlainExecutor(
            self.schema,
            dict(self.fragments),
            {name: FragmentDetails(one) for name, one in self.fragments.items()},
            None,
            context,
            self.operation,
            values,
            default_field_resolver,
            default_type_resolver,
            default_field_resolver,
            hide_suggestions=self.hide_suggestions,
            places=self.places,
        )
