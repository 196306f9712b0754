"""The simulators, for the promises that are kept or broken only against a whole company."""

# The fixtures of the process.
from tests.running import process, receiver, simulators

__all__ = ["process", "receiver", "simulators"]
