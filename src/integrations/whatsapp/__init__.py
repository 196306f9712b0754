"""WhatsApp messages through Meta's Cloud API."""

from core.ports import Channel, Integration
from integrations.whatsapp.settings import Settings

INTEGRATION = Integration(
    name="whatsapp",
    title="WhatsApp",
    docs="https://developers.facebook.com/docs/whatsapp/cloud-api",
    settings=Settings,
    channels=frozenset({Channel.WHATSAPP}),
    connect=None,
)
