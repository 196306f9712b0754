"""Problems in GraphQL."""
