"""A secret given as a setting shows nowhere: not in problems, not in reprs, not on the screen."""

import io
import json
from collections.abc import Mapping

import pytest
from rich.console import Console

from api.cli.check import render, run
from api.configuration import Configuration, load_configuration
from core.settings import CoreSettings, describe
from integrations.registry import all_integrations
from tests.unit.settings_samples import HEX, SMTP, TWILIO, in_base64, private_pem, service_account

CANARY = "c4n4ry5ecret"
KEY = in_base64("0123456789" + CANARY + "0123456789")

RIGHT = {
    "DATABASE_URL": f"postgresql://app:{CANARY}@db/app?sslmode=require&sslpassword={CANARY}",
    "DATABASE_URL_WORKER": f"postgresql://worker:{CANARY}@db/app",
    "DATABASE_URL_DIRECT": f"postgresql://owner:{CANARY}@db/app",
    "REDIS_URL": f"redis://:{CANARY}@cache/0",
    "ENCRYPTION_KEYS": f"k1:{KEY}",
    **TWILIO,
    "TWILIO_AUTH_TOKEN": "c4" * 16,
    "TWILIO_API_KEY_SID": f"SK{HEX}",
    "TWILIO_API_KEY_SECRET": CANARY,
    **SMTP,
    "SMTP_USERNAME": "mailer",
    "SMTP_PASSWORD": CANARY,
    "WHATSAPP_ACCESS_TOKEN": CANARY,
    "WHATSAPP_PHONE_NUMBER_ID": "100000000000001",
    "WHATSAPP_BUSINESS_ACCOUNT_ID": "200000000000002",
    "WHATSAPP_APP_SECRET": "c4" * 16,
    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": CANARY * 2,
    "STRIPE_SECRET_KEY": f"sk_test_{CANARY}",
    "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "pk_test_public",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY}",
    "CLERK_SECRET_KEY": f"sk_test_{CANARY * 2}",
    "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
    "CLERK_WEBHOOK_SIGNING_SECRET": f"whsec_{CANARY}",
    "CLERK_MACHINE_SECRET_KEY": f"ak_{CANARY}",
    "GOOGLE_SERVICE_ACCOUNT_JSON": service_account(),
}
MARKS = (CANARY, "c4c4c4", KEY, private_pem().splitlines()[5])
NAMES = [
    v.name for model in (CoreSettings, *(c.settings for c in all_integrations().values())) for v in describe(model)
]


def shown(configuration: Configuration) -> str:
    """Everything somebody could see of a configuration."""
    texts = [repr(configuration), str(configuration), repr(configuration.core), str(configuration.core)]
    for integration in configuration.integrations.values():
        texts += [repr(integration), str(integration.settings), repr(integration.settings)]
    for terminal in (True, False):
        screen = io.StringIO()
        render(configuration, Console(file=screen, force_terminal=terminal, width=500))
        texts.append(screen.getvalue())
    return "\n".join(texts)


def assert_nothing_leaks(environment: Mapping[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(load_configuration(environment))
    for as_json in (True, False):
        run(as_json, environment)
        text += "".join(capsys.readouterr())
    assert [mark for mark in MARKS if mark in text] == []


def test_right_secrets_are_read_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configuration = load_configuration(RIGHT)
    assert configuration.problems == ()
    assert configuration.core is not None
    assert CANARY.encode() in configuration.core.sealing_keys["k1"]
    assert_nothing_leaks(RIGHT, capsys)


@pytest.mark.parametrize("wrong", [f"{CANARY} {CANARY}", f"://{CANARY}", f"postgresql://u:{CANARY}/{CANARY}@db/app"])
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_value_is_not_quoted(name: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    problems = load_configuration({name: wrong}).problems
    assert CANARY not in str(problems)
    if any(problem.setting == name for problem in problems):
        assert_nothing_leaks({name: wrong}, capsys)


def test_a_secret_cut_in_two_by_its_own_characters_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    for cut in ("1/", "1#", "1?", "1@", "@"):
        for name, scheme in (("DATABASE_URL", "postgresql"), ("REDIS_URL", "redis")):
            assert_nothing_leaks({name: f"{scheme}://u:{cut}{CANARY}@db/0"}, capsys)


def test_json_output_is_json_and_counts_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(True, {**RIGHT, "SMTP_TLS": CANARY}) == 3
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert [error["setting"] for error in errors] == ["SMTP_TLS"]
