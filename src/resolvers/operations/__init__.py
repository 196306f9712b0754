"""Integrations, as clients see them."""
