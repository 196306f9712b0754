"""Parcels in GraphQL."""
