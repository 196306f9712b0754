"""Templates with placeholders: our own, and copies of those that providers keep."""
