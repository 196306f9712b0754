"""Events in Google Calendar."""

from core.ports import Integration
from integrations.google_calendar.settings import Settings

INTEGRATION = Integration(
    name="google_calendar",
    title="Google Calendar",
    docs="https://developers.google.com/workspace/calendar/api/v3/reference",
    settings=Settings,
    connect=None,
)
