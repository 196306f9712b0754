"""The application over a test database, with settings of every provider and no provider behind their addresses."""

from api.bootstrap import App, build_app
from api.configuration import load_configuration
from tests.databases import ENCRYPTION_KEY, Urls

# A port without a listener: nothing in these tests is sent.
UNREACHABLE = "http://127.0.0.1:9"
TWILIO = {
    "TWILIO_ACCOUNT_SID": f"AC{'0' * 32}",
    "TWILIO_AUTH_TOKEN": "a" * 32,
    "TWILIO_PHONE_NUMBER": "+15005550006",
    "TWILIO_API_BASE": UNREACHABLE,
}
WHATSAPP = {
    "WHATSAPP_ACCESS_TOKEN": "EAAtoken",
    "WHATSAPP_PHONE_NUMBER_ID": "106540352242922",
    "WHATSAPP_BUSINESS_ACCOUNT_ID": "102290129340398",
    "WHATSAPP_APP_SECRET": "0123456789abcdef0123456789abcdef",
    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "sixteen-or-more!",
    "WHATSAPP_API_BASE": UNREACHABLE,
}
SMTP = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "9", "SMTP_TLS": "none", "SMTP_FROM": "Ana <ana@example.com>"}


def build_application(urls: Urls, **changes: str) -> App:
    """Build the application over these stores, with Twilio and SMTP; `changes` go into its environment."""
    environment = {
        "APP_ENV": "test",
        "DATABASE_URL": urls.app,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
        "PUBLIC_BASE_URL": "https://api.example.com",
        # All tests come from one address; tests/security/test_ip_limits.py sets a budget.
        "ADDRESS_BUDGET": "0",
        **TWILIO,
        **SMTP,
        **changes,
    }
    return build_app(load_configuration({name: value for name, value in environment.items() if value}))
