"""Payments through Stripe."""

from core.ports import Integration
from integrations.stripe.settings import Settings

INTEGRATION = Integration(
    name="stripe",
    title="Stripe",
    docs="https://docs.stripe.com/api",
    settings=Settings,
    connect=None,
)
