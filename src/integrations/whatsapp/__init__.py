"""WhatsApp messages through Meta's Cloud API."""

from core.ports import (
    Channel,
    Connected,
    InboundMessage,
    Integration,
    IntegrationContext,
    Mode,
    OtherEvent,
    StatusReport,
    TemplatesChanged,
)
from integrations.whatsapp.settings import Settings


def connect(settings: Settings, surroundings: IntegrationContext) -> Connected:
    """Connect WhatsApp; nothing is called yet."""
    # Imported here: the HTTP client costs start-up time, and the card is often read without it.
    from integrations.http_client import HttpClient
    from integrations.whatsapp.adapter import GraphApi, WhatsAppSender
    from integrations.whatsapp.probe import WhatsAppProbe
    from integrations.whatsapp.templates import WhatsAppTemplates
    from integrations.whatsapp.webhook import WhatsAppHandshake, WhatsAppWebhooks

    http = HttpClient("whatsapp", surroundings.calls)
    graph = GraphApi(settings, http)
    return Connected(
        mode=Mode.SIMULATED if settings.is_simulated() else Mode.LIVE,
        sender=WhatsAppSender(settings, graph),
        webhooks=WhatsAppWebhooks(settings),
        handshake=WhatsAppHandshake(settings),
        templates=WhatsAppTemplates(settings, graph),
        probe=WhatsAppProbe(settings, graph),
        # An inbound message names the id of our number as its recipient, since the number itself may change.
        own_addresses=[settings.phone_number_id],
        pace=settings.pace,
        close=http.close,
    )


INTEGRATION = Integration(
    name="whatsapp",
    title="WhatsApp",
    docs="https://developers.facebook.com/docs/whatsapp/cloud-api",
    settings=Settings,
    channels=frozenset({Channel.WHATSAPP}),
    events=frozenset({StatusReport, InboundMessage, TemplatesChanged, OtherEvent}),
    connect=connect,
)
