"""GraphQL: the client's words over core's verbs, nothing more."""

# Core's words must be declared as enums before any type mentions them, whichever module is imported first.
import resolvers.enums  # noqa: F401
