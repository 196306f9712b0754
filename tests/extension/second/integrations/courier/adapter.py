"""Takes every message, and names it after our own id."""

from core.ports import OutboundMessage, Receipt


class CourierSender:
    """A provider that accepts whatever it is given."""

    async def send(self, message: OutboundMessage) -> Receipt:
        return Receipt(f"courier-{message.reference.message_id}")
