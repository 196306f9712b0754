"""The caller, people, organisations and API keys in GraphQL."""
