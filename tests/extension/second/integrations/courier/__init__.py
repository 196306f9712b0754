"""Text messages through a provider that exists in tests only: a second one for SMS, which calls nothing."""

from integrations.courier.settings import Settings

from core.ports import Channel, Connected, Integration, IntegrationContext, Mode, StatusReport


def connect(settings: Settings, _context: IntegrationContext) -> Connected:
    """Connect the provider."""
    from integrations.courier.adapter import CourierSender
    from integrations.courier.webhook import CourierWebhooks

    return Connected(
        mode=Mode.SIMULATED,
        sender=CourierSender(),
        webhooks=CourierWebhooks(settings),
        own_addresses=[settings.sender_name],
    )


INTEGRATION = Integration(
    name="courier",
    title="Courier SMS",
    docs="https://courier.example/docs",
    settings=Settings,
    channels=frozenset({Channel.SMS}),
    events=frozenset({StatusReport}),
    connect=connect,
)
