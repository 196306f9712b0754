"""What companies tell us: kept once, applied in the worker."""
