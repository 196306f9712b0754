"""Every address of a web service that a setting can hold: HTTPS, unless it is this machine's own."""

import re

import pytest

from core.settings import CoreSettings, describe, load
from integrations.registry import all_integrations
from tests.unit.settings_samples import CLERK, GOOGLE_OAUTH, SMTP, STRIPE, TWILIO, WHATSAPP

WHOLE = {**CLERK, **GOOGLE_OAUTH, **SMTP, **STRIPE, **TWILIO, **WHATSAPP}
MODELS = [CoreSettings, *(card.settings for card in all_integrations().values())]
# By its name, or by what it holds: a setting that is declared as a mere text is found as well.
ADDRESSES = [
    (model, one.name)
    for model in MODELS
    for one in describe(model)
    if not one.secret
    and (
        re.search("_(URL|URI|BASE|ENDPOINT|ORIGINS?|PARTIES)$", one.name)
        or f"{one.default} {one.example}".startswith(("http", "None http"))
    )
]
REFUSED = [
    "http://example.com",
    "http://10.0.0.1",
    "http://169.254.169.254/latest/meta-data",
    "http://127.0.0.1.example.com",
    "http://localhost.example.com",
    "http://localhost@example.com",
    "http://example.com#@localhost",
    "http://2130706433",
    "http://0.0.0.0",
    "HTTP://example.com",
    "ftp://example.com",
    "file:///etc/passwd",
    "gopher://localhost",
    "javascript:alert(1)",
    "//example.com",
    "https://",
    "https://user:password@example.com",
    "https://example.com?next=evil",
    "https://example.com\\@evil.example",
]


def test_there_are_addresses() -> None:
    assert {name for _, name in ADDRESSES} >= {
        "CLERK_API_BASE",
        "CLERK_JWKS_URL",
        "CORS_ORIGINS",
        "GOOGLE_TOKEN_URL",
        "PUBLIC_BASE_URL",
        "TWILIO_API_BASE",
        "WHATSAPP_API_BASE",
    }


def test_an_address_that_is_not_https_is_refused(subtests: pytest.Subtests) -> None:
    for text in REFUSED:
        for model, name in ADDRESSES:
            with subtests.test(f"{name}: {text}"):
                assert name in [problem.setting for problem in load(model, {**WHOLE, name: text}).problems]


TAKEN = ["https://example.com", "http://localhost:9", "http://127.0.0.1:9", "http://[::1]:9"]


def test_https_and_this_machine_are_taken(subtests: pytest.Subtests) -> None:
    for text in TAKEN:
        for model, name in ADDRESSES:
            with subtests.test(f"{name}: {text}"):
                assert load(model, {**WHOLE, name: text}).problems == ()
