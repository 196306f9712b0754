"""Templates in GraphQL."""
