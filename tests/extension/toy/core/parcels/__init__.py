"""Parcels that are on their way to customers: a noun for tests."""
