"""Whom a caller's messages may reach: everybody, people named beforehand, or nobody outside this server."""

from dataclasses import dataclass, field

from core.brazil import full_form


@dataclass(frozen=True, slots=True)
class Reach:
    """What credentials allow of recipients and companies.

    `simulated_only` keeps messages from every company that is not simulated here; `recipients` are the only addresses
    they may go to, None for any.
    """

    simulated_only: bool = False
    # Never printed: they are people's.
    recipients: frozenset[str] | None = field(default=None, repr=False)

    def allows(self, address: str) -> bool:
        """Whether a message may go to an address, in whichever of its forms."""
        return self.recipients is None or one_form(address) in self.recipients

    def covers(self, other: "Reach") -> bool:
        """Whether the other reaches nobody whom this one does not."""
        if self.simulated_only:
            return other.simulated_only
        if self.recipients is None or other.simulated_only:
            return True
        return other.recipients is not None and other.recipients <= self.recipients


EVERYWHERE = Reach()


def one_form(address: str) -> str:
    """An address in the form allow lists compare: a Brazilian mobile with its ninth digit."""
    return f"+{full_form(address[1:])}" if address.startswith("+") else address
