"""Every table, for whoever needs them all: migrations and the test that compares the two."""

from core.access.tables import api_keys, memberships, senders, tenants, users
from core.audit.tables import audit_events
from core.database import metadata
from core.idempotency import idempotency_keys
from core.messages.tables import attempts, external_ids, message_batches, message_events, messages
from core.operations.tables import daily_counts, dead_letters, pulses, workers
from core.privacy.tables import erasures
from core.templates.tables import template_catalogues, templates
from core.webhooks.tables import inbox

__all__ = [
    "api_keys",
    "attempts",
    "audit_events",
    "daily_counts",
    "dead_letters",
    "erasures",
    "external_ids",
    "idempotency_keys",
    "inbox",
    "memberships",
    "message_batches",
    "message_events",
    "messages",
    "metadata",
    "pulses",
    "senders",
    "template_catalogues",
    "templates",
    "tenants",
    "users",
    "workers",
]
