"""The metrics of this process in Prometheus' format."""

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

REGISTRY = CollectorRegistry()

webhooks = Counter(
    "interalpha_webhooks",
    "Webhooks by what became of them: accepted, duplicate, forged, too_big, too_slow, handshake, unknown, unavailable.",
    ["provider", "result"],
    registry=REGISTRY,
)

refused_sessions = Counter(
    "interalpha_sessions_refused",
    "Tokens of people's sessions that were not believed, by the reason.",
    ["reason"],
    registry=REGISTRY,
)

refused_keys = Counter(
    "interalpha_keys_refused",
    "API keys that were not believed, by the reason: malformed, unknown, revoked, expired.",
    ["reason"],
    registry=REGISTRY,
)

turned_away = Counter(
    "interalpha_turned_away",
    "Requests and sockets answered before anybody looked at them: address (too many from it), headers (too many).",
    ["reason"],
    registry=REGISTRY,
)

documents = Counter(
    "interalpha_documents",
    "Documents by how they were known: trusted, persisted, unknown (told to send the text), untrusted, store_away.",
    ["result"],
    registry=REGISTRY,
)

sockets = Gauge("interalpha_sockets", "GraphQL sockets that are open.", registry=REGISTRY)

operations = Gauge(
    "interalpha_live_operations", "Operations under way on sockets and event streams.", ["protocol"], registry=REGISTRY
)

_tasks = Gauge("interalpha_tasks", "Tasks of the event loop: what clients left behind would show.", registry=REGISTRY)


def render() -> bytes:
    """Every metric as text."""
    _tasks.set(len(asyncio.all_tasks()))
    return generate_latest(REGISTRY)
