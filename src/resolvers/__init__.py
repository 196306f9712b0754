"""GraphQL: types and resolvers over core's functions."""

# Core's words must be declared as enums before any type mentions them, whichever module is imported first.
import resolvers.enums  # noqa: F401
