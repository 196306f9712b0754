"""People and their sessions from Clerk."""

from core.ports import Integration
from integrations.clerk.settings import Settings

INTEGRATION = Integration(
    name="clerk",
    title="Clerk",
    docs="https://clerk.com/docs/reference/backend-api",
    settings=Settings,
    connect=None,
)
