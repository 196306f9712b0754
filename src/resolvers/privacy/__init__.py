"""Erasures of personal data in GraphQL."""
