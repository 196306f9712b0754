"""With whom a message is exchanged: which way it went, and the other side's address, masked."""

from collections.abc import Mapping
from typing import Any

PARTIES = "direction toMasked fromMasked"
"""What has to be asked for."""


def arrow(message: Mapping[str, Any]) -> str:
    """Show which way it went."""
    return "→" if message["direction"] == "OUTBOUND" else "←"


def whom(message: Mapping[str, Any]) -> str:
    """Return the address of whoever is not us."""
    address: str = message["toMasked"] if message["direction"] == "OUTBOUND" else message["fromMasked"]
    return address
