"""The simulated providers, tested with third-party clients."""
