"""Calls the carrier; it has none, and only reports."""
