"""Parcels through a carrier that exists in tests only."""

from core.ports.parcels import ParcelMoved
from integrations.parcelpost.settings import Settings

from core.ports import Connected, Integration, IntegrationContext, Mode, OtherEvent


def connect(settings: Settings, context: IntegrationContext) -> Connected:
    """Connect the carrier."""
    from integrations.parcelpost.adapter import ParcelPostProbe
    from integrations.parcelpost.webhook import ParcelPostWebhooks

    return Connected(
        mode=Mode.LIVE,
        webhooks=ParcelPostWebhooks(settings),
        probe=ParcelPostProbe(context.calls, settings.depot),
        own_addresses=[settings.depot],
    )


INTEGRATION = Integration(
    name="parcelpost",
    title="Parcel Post",
    docs="https://parcelpost.example/docs",
    settings=Settings,
    events=frozenset({ParcelMoved, OtherEvent}),
    connect=connect,
)
