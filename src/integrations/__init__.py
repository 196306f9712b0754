"""One folder per company we work through; none knows another."""
