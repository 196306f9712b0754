"""The rate limit of each provider, by its settings."""

import pytest

from core.ports import Pace
from core.settings import IntegrationSettings, load
from integrations.smtp.settings import Settings as Smtp
from integrations.twilio.settings import Settings as Twilio
from integrations.whatsapp.settings import Settings as WhatsApp
from tests.unit.settings_samples import HEX, SMTP, TWILIO, WHATSAPP


def pace_of(model: type[IntegrationSettings], environment: dict[str, str]) -> Pace | None:
    settings = load(model, {name: value for name, value in environment.items() if value}).value
    assert isinstance(settings, Twilio | Smtp | WhatsApp)
    return settings.pace


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("+15005550006", Pace(1, burst=1)),
        ("+18005550006", Pace(3, burst=1)),
        ("+5511987654321", Pace(10, burst=1)),
        ("28000", Pace(100, burst=10)),
    ],
)
def test_a_twilio_sender_is_paced_by_its_kind(sender: str, expected: Pace) -> None:
    assert pace_of(Twilio, TWILIO | {"TWILIO_PHONE_NUMBER": sender}) == expected


def test_a_twilio_messaging_service_paces_itself() -> None:
    assert pace_of(Twilio, TWILIO | {"TWILIO_MESSAGING_SERVICE_SID": f"MG{HEX}"}) is None


def test_what_was_agreed_with_twilio_wins() -> None:
    agreed = {"TWILIO_MESSAGING_SERVICE_SID": f"MG{HEX}", "TWILIO_MESSAGES_PER_SECOND": "250"}
    assert pace_of(Twilio, TWILIO | agreed) == Pace(250, burst=25)


def test_a_whatsapp_number_keeps_its_throughput_and_leaves_people_in_peace() -> None:
    assert pace_of(WhatsApp, WHATSAPP) == Pace(80, burst=8, recipient_interval=6.0, recipient_burst=45)
    raised = pace_of(WhatsApp, WHATSAPP | {"WHATSAPP_MESSAGES_PER_SECOND": "1000"})
    assert raised == Pace(1000, burst=100, recipient_interval=6.0, recipient_burst=45)


def test_a_relay_is_paced_once_its_operator_has_said_how_fast() -> None:
    assert pace_of(Smtp, SMTP) is None
    assert pace_of(Smtp, SMTP | {"SMTP_MESSAGES_PER_SECOND": "14"}) == Pace(14, burst=1)


@pytest.mark.parametrize(
    ("model", "environment"),
    [
        (Twilio, TWILIO | {"TWILIO_MESSAGES_PER_SECOND": "0"}),
        (Twilio, TWILIO | {"TWILIO_MESSAGES_PER_SECOND": "4001"}),
        (Smtp, SMTP | {"SMTP_MESSAGES_PER_SECOND": "fast"}),
        (WhatsApp, WHATSAPP | {"WHATSAPP_MESSAGES_PER_SECOND": "1001"}),
    ],
)
def test_a_rate_out_of_range_is_refused_with_the_range(
    model: type[IntegrationSettings], environment: dict[str, str]
) -> None:
    [problem] = load(model, environment).problems
    assert problem.setting.endswith("_MESSAGES_PER_SECOND")
    assert "1 to" in problem.message
