"""People and their sessions from Clerk."""

from core.ports import Connected, DirectoryChanged, Integration, IntegrationContext, Mode, OtherEvent
from integrations.clerk.settings import Settings


def connect(settings: Settings, surroundings: IntegrationContext) -> Connected:
    """Connect Clerk; nothing is called yet."""
    # Imported here: the HTTP client and cryptography cost start-up time, and the card is often read without them.
    from integrations.clerk.adapter import ClerkSessions
    from integrations.clerk.jwks import KeySet
    from integrations.clerk.probe import ClerkProbe
    from integrations.clerk.webhook import ClerkWebhooks
    from integrations.http_client import HttpClient

    http = HttpClient("clerk", surroundings.calls)
    keys = KeySet(http, settings.jwks_url)

    async def close() -> None:
        await keys.close()
        await http.close()

    return Connected(
        mode=Mode.SIMULATED if settings.is_simulated() else Mode.SANDBOX if settings.is_sandbox() else Mode.LIVE,
        webhooks=ClerkWebhooks(settings),
        identities=ClerkSessions(settings, keys),
        probe=ClerkProbe(settings, http),
        close=close,
    )


INTEGRATION = Integration(
    name="clerk",
    title="Clerk",
    docs="https://clerk.com/docs/reference/backend-api",
    settings=Settings,
    events=frozenset({DirectoryChanged, OtherEvent}),
    connect=connect,
)
