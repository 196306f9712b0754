"""What this process counts, in Prometheus' form."""

from prometheus_client import CollectorRegistry, Counter, generate_latest

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


def render() -> bytes:
    """Every metric as text."""
    return generate_latest(REGISTRY)
