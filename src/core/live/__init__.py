"""What changed, for subscribers."""
