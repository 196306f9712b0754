"""One folder per provider we work through; none knows another."""
