"""With whom a message is exchanged: which way it went, the other side's address, masked, and how one is written."""

from collections.abc import Mapping
from typing import Any

PARTIES = "direction toMasked fromMasked"
"""What has to be asked for."""
_FIELDS = {"phone": "phone", "email": "email", "whatsapp-user": "whatsappUserId"}
"""Kinds of addresses → the API's names for them."""


def arrow(message: Mapping[str, Any]) -> str:
    """Show which way it went."""
    return "→" if message["direction"] == "OUTBOUND" else "←"


def whom(message: Mapping[str, Any]) -> str:
    """Return the address of whoever is not us."""
    address: str = message["toMasked"] if message["direction"] == "OUTBOUND" else message["fromMasked"]
    return address


def recipient(address: str) -> dict[str, str]:
    """Write an address as the API takes it: a telephone number, an e-mail address or a WhatsApp user id."""
    # Here, because telephone numbers bring a large table, and help should not wait for that.
    from core.addresses import known_address

    return {_FIELDS[known_address(address).kind]: address}
