"""GraphQL: the client's words over core's verbs, nothing more."""
