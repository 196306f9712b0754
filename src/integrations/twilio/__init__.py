"""Text messages through Twilio."""

from core.ports import (
    Channel,
    Connected,
    InboundMessage,
    Integration,
    IntegrationContext,
    Mode,
    OtherEvent,
    StatusReport,
)
from integrations.twilio.settings import Settings


def connect(settings: Settings, surroundings: IntegrationContext) -> Connected:
    """Connect Twilio; nothing is called yet."""
    # Imported here: the HTTP client and Twilio's library cost start-up time, and the card is often read without them.
    from integrations.http_client import HttpClient
    from integrations.twilio.adapter import TwilioSender
    from integrations.twilio.lookup import MessageList, TwilioLookup
    from integrations.twilio.probe import TwilioProbe
    from integrations.twilio.webhook import TwilioWebhooks

    http = HttpClient("twilio", surroundings.calls)
    return Connected(
        mode=Mode.SIMULATED if settings.is_simulated() else Mode.LIVE,
        sender=TwilioSender(settings, http, surroundings.webhook_url),
        webhooks=TwilioWebhooks(settings),
        lookup=TwilioLookup(MessageList(settings, http)),
        probe=TwilioProbe(settings, http),
        own_addresses=[own for own in (settings.phone_number, settings.messaging_service_sid) if own],
        pace=settings.pace,
        close=http.close,
    )


INTEGRATION = Integration(
    name="twilio",
    title="Twilio SMS",
    docs="https://www.twilio.com/docs/messaging/api",
    settings=Settings,
    channels=frozenset({Channel.SMS}),
    events=frozenset({StatusReport, InboundMessage, OtherEvent}),
    connect=connect,
)
