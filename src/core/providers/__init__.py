"""Calling a provider: circuit breaker and flow control, the same for every worker."""
