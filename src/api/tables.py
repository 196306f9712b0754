"""Imports every table: for migrations, and for the test that compares both."""

from core.access.tables import api_keys, memberships, senders, tenants, users
from core.audit.act import audit_events
from core.database import contracts, metadata
from core.dead_letters.store import dead_letters
from core.idempotency import idempotency_keys
from core.inbox.tables import inbox
from core.liveness import pulses, servers, workers
from core.lookup_keys import lookup_keys
from core.messages.tables import attempts, daily_counts, external_ids, message_batches, message_events, messages
from core.privacy.erase import erasures
from core.templates.tables import template_catalogues, templates

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
