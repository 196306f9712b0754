"""E-mail through any SMTP relay."""

from core.ports import Channel, Connected, Integration, IntegrationContext, MessageSender, Mode
from integrations.smtp.settings import Settings


def connect(settings: Settings, surroundings: IntegrationContext) -> Connected:
    """Put the relay to work; no connection is opened yet. A relay reports nothing back, so there are no webhooks."""
    # Importing the library takes time, and a process that only reads the card does not need it.
    from integrations.smtp.adapter import FailoverState, FallbackSender, SmtpSender
    from integrations.smtp.connections import ConnectionPool
    from integrations.smtp.probe import SmtpProbe

    first, standing = ConnectionPool(settings), FailoverState()
    second = ConnectionPool(settings, settings.second) if settings.second else None
    sender: MessageSender = SmtpSender(settings, first)
    if second is not None:
        sender = FallbackSender(SmtpSender(settings, first), SmtpSender(settings, second), standing)

    async def close() -> None:
        for connections in (first, second):
            if connections is not None:
                await connections.close()

    return Connected(
        mode=Mode.SIMULATED if settings.is_simulated() else Mode.LIVE,
        sender=sender,
        probe=SmtpProbe(first, second, standing, surroundings.calls),
        own_addresses=[settings.sender_address],
        # As many again as can be said at once: while outcomes are written down, no connection is without a mail. Who
        # waits for one waits for as long as one mail takes, of the eight seconds there are.
        in_flight=2 * settings.connections,
        pace=settings.pace,
        close=close,
    )


INTEGRATION = Integration(
    name="smtp",
    title="E-mail (SMTP)",
    docs="https://www.rfc-editor.org/rfc/rfc5321",
    settings=Settings,
    channels=frozenset({Channel.EMAIL}),
    connect=connect,
)
