"""Storing one webhook, for tests that are about what becomes of it."""
