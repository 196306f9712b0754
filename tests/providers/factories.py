"""Settings of each provider and messages to send through them."""

from typing import TypeVar
from uuid import UUID

from core.ports import Channel, Content, EmailContent, OutboundMessage, Reference, TextContent
from core.settings import IntegrationSettings, load
from integrations.clerk.settings import Settings as ClerkSettings
from integrations.smtp.settings import Settings as SmtpSettings
from integrations.twilio.settings import Settings as TwilioSettings
from integrations.whatsapp.settings import Settings as WhatsAppSettings
from tests.servers import ACCOUNT, CLERK, NUMBER, PASSWORD, TOKEN, USER, WHATSAPP

Settings = TypeVar("Settings", bound=IntegrationSettings)


ANA = "+5511987654321"


ANA_AT_HOME = "ana@example.net"


WEBHOOK_URL = "https://api.example.com/webhooks/twilio"


REFERENCE = Reference(UUID(int=1), UUID(int=2), 3)


def sms(to: str = ANA, text: str = "Olá, Ana!") -> OutboundMessage:
    return OutboundMessage(REFERENCE, Channel.SMS, to, TextContent(text))


def whatsapp(
    content: Content = TextContent("Olá, Ana!"),  # noqa: B008, a value that never changes
    to: str = ANA,
    in_reply_to: str | None = None,
) -> OutboundMessage:
    return OutboundMessage(REFERENCE, Channel.WHATSAPP, to, content, in_reply_to)


def email(
    to: str = ANA_AT_HOME,
    subject: str = "Sua consulta é amanhã",
    plain_text: str | None = "Até amanhã.",
    html: str | None = None,
    reference: Reference = REFERENCE,
) -> OutboundMessage:
    return OutboundMessage(reference, Channel.EMAIL, to, EmailContent(subject, plain_text, html))


def twilio_settings(base: str = "http://127.0.0.1:1", **changes: str) -> TwilioSettings:
    given = {
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_PHONE_NUMBER": NUMBER,
        "TWILIO_API_BASE": base,
    }
    return _loaded(TwilioSettings, {**given, **changes})


def smtp_settings(port: int = 1, **changes: str) -> SmtpSettings:
    given = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_USERNAME": USER,
        "SMTP_PASSWORD": PASSWORD,
        "SMTP_FROM": "Clínica Ação <no-reply@example.com>",
    }
    return _loaded(SmtpSettings, {**given, **changes})


def whatsapp_settings(base: str = "http://127.0.0.1:1", **changes: str) -> WhatsAppSettings:
    return _loaded(WhatsAppSettings, {**WHATSAPP, "WHATSAPP_API_BASE": base, **changes})


def clerk_settings(base: str = "http://127.0.0.1:1", **changes: str) -> ClerkSettings:
    return _loaded(ClerkSettings, {**CLERK, "CLERK_API_BASE": base, **changes})


def _loaded(model: type[Settings], given: dict[str, str]) -> Settings:
    loaded = load(model, given)
    assert loaded.value is not None, loaded.problems
    return loaded.value
