"""Every table, for whoever needs them all: migrations and the test that compares the two."""

from core.access.tables import api_keys, memberships, senders, tenants, users
from core.audit.tables import audit_events
from core.database import metadata
from core.idempotency import idempotency_keys
from core.keyring.tables import lookup_keys
from core.messages.tables import attempts, daily_counts, external_ids, message_batches, message_events, messages
from core.operations.tables import contracts, dead_letters, pulses, servers, workers
from core.privacy.tables import erasures
from core.templates.tables import template_catalogues, templates
from core.webhooks.tables import inbox

__all__ = [
    "api_keys",
    "attempts",
    "audit_events",
    "contracts",
    "daily_counts",
    "dead_letters",
    "erasures",
    "external_ids",
    "idempotency_keys",
    "inbox",
    "lookup_keys",
    "memberships",
    "message_batches",
    "message_events",
    "messages",
    "metadata",
    "pulses",
    "senders",
    "servers",
    "template_catalogues",
    "templates",
    "tenants",
    "users",
    "workers",
]
