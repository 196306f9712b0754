"""The rules of every provider's settings."""

from collections.abc import Mapping

import pytest

from core.settings import IntegrationSettings, State, load
from integrations.clerk.settings import Settings as Clerk
from integrations.google_calendar.settings import Settings as Google
from integrations.smtp.settings import Settings as Smtp
from integrations.stripe.settings import Settings as Stripe
from integrations.twilio.settings import Settings as Twilio
from integrations.whatsapp.settings import Settings as WhatsApp
from tests.unit.settings_samples import (
    CLERK,
    CLERK_IN_PRODUCTION,
    GOOGLE_OAUTH,
    HEX,
    SMTP,
    STRIPE,
    TWILIO,
    WHATSAPP,
    in_base64,
    public_pem,
    service_account,
)

GOOGLE_ACCOUNT = {"GOOGLE_SERVICE_ACCOUNT_JSON": service_account()}
CASES: dict[type[IntegrationSettings], Mapping[str, str]] = {
    Twilio: TWILIO,
    Smtp: SMTP,
    WhatsApp: WHATSAPP,
    Stripe: STRIPE,
    Clerk: CLERK,
    Google: GOOGLE_OAUTH,
}
OTHER_HEX = "f" * 32
HOST_WITHOUT_DOT = "pk_test_" + in_base64("host$")
NO_DOLLAR = "pk_test_" + in_base64("clerk.example.com")
SECOND = {"SMTP_FALLBACK_HOST": "smtp.example.org"}

GOOD = [
    (Twilio, {"TWILIO_PHONE_NUMBER": "12345"}),
    (Twilio, {"TWILIO_PHONE_NUMBER": "", "TWILIO_MESSAGING_SERVICE_SID": f"MG{HEX}"}),
    (Twilio, {"TWILIO_MESSAGING_SERVICE_SID": f"MG{HEX}"}),
    (Twilio, {"TWILIO_API_KEY_SID": f"SK{HEX}", "TWILIO_API_KEY_SECRET": "secret"}),
    (Twilio, {"TWILIO_AUTH_TOKEN": f"{HEX}, {OTHER_HEX}"}),
    (Twilio, {"TWILIO_API_BASE": "http://127.0.0.1:9000/twilio"}),
    (Smtp, {"SMTP_FROM": "ana@example.com"}),
    (Smtp, {"SMTP_FROM": '"Silva, Ana" <ana@example.com>'}),
    (Smtp, {"SMTP_FROM": "Loja R$\u00a01 👩\u200d💻 שלום\u200e <ana@example.com>"}),
    (Smtp, {"SMTP_PORT": "465"}),
    (Smtp, {"SMTP_PORT": "465", "SMTP_TLS": "implicit"}),
    (Smtp, {"SMTP_PORT": "2525", "SMTP_TLS": "implicit"}),
    (Smtp, {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1025", "SMTP_TLS": "none"}),
    (Smtp, {"SMTP_HOST": "::1", "SMTP_TLS": "none"}),
    (Smtp, {"SMTP_USERNAME": "u", "SMTP_PASSWORD": "p"}),
    (Smtp, {"SMTP_CA_FILE": __file__}),
    (Smtp, {"SMTP_LIST_UNSUBSCRIBE": "mailto:stop@example.com?subject=stop"}),
    (Smtp, {"SMTP_LIST_UNSUBSCRIBE": "https://example.com/stop"}),
    (Smtp, {"SMTP_FALLBACK_HOST": "smtp.example.org"}),
    (Smtp, {"SMTP_FALLBACK_HOST": "smtp.example.org", "SMTP_FALLBACK_USERNAME": "u", "SMTP_FALLBACK_PASSWORD": "p"}),
    (Smtp, {"SMTP_FALLBACK_HOST": "::1", "SMTP_FALLBACK_PORT": "1025", "SMTP_FALLBACK_TLS": "none"}),
    (WhatsApp, {"WHATSAPP_APP_SECRET": f"{HEX},{OTHER_HEX}", "WHATSAPP_API_VERSION": "v25.0"}),
    (Stripe, {"STRIPE_SECRET_KEY": "rk_test_abc", "STRIPE_WEBHOOK_SECRET": "whsec_a,whsec_b"}),
    (Clerk, {"CLERK_JWT_KEY": public_pem()}),
    (Clerk, {"CLERK_AUTHORIZED_PARTIES": "https://app.example.com/, http://localhost:3000"}),
    (Clerk, {"CLERK_PERSONAL_TENANT": "own", "CLERK_CLOCK_LEEWAY": "0"}),
    (Clerk, {"CLERK_ROLE_SCOPES": '{"org:admin": ["*"], "org:help_desk": ["MESSAGES_READ"], "personal": []}'}),
    (Clerk, {"CLERK_ROLE_SCOPES": '{"org:campaigns:run": ["MESSAGES_SEND"], "org:messages:send": []}'}),
    (Clerk, {**CLERK_IN_PRODUCTION, "APP_ENV": "production"}),
    (Clerk, {"CLERK_JWT_KEY": public_pem().strip().replace("\n", "\\n")}),
    (Clerk, {"CLERK_MACHINE_SECRET_KEY": "ak_abc", "CLERK_JWKS_URL": "https://clerk.example.com/jwks.json"}),
    (Google, dict.fromkeys(GOOGLE_OAUTH, "") | GOOGLE_ACCOUNT),
    (Google, dict.fromkeys(GOOGLE_OAUTH, "") | {"GOOGLE_SERVICE_ACCOUNT_JSON": in_base64(service_account())}),
    (Google, dict.fromkeys(GOOGLE_OAUTH, "") | GOOGLE_ACCOUNT | {"GOOGLE_DELEGATED_USER": "ana@example.com"}),
    (Google, {"GOOGLE_CALENDAR_ID": "abc@group.calendar.google.com"}),
]

WRONG = [
    (Twilio, {"TWILIO_ACCOUNT_SID": f"SK{HEX}"}, "TWILIO_ACCOUNT_SID", "AC and 32"),
    (Twilio, {"TWILIO_AUTH_TOKEN": "short"}, "TWILIO_AUTH_TOKEN", "32 hexadecimal"),
    (Twilio, {"TWILIO_AUTH_TOKEN": f"{HEX},"}, "TWILIO_AUTH_TOKEN", "32 hexadecimal"),
    (Twilio, {"TWILIO_API_KEY_SID": HEX, "TWILIO_API_KEY_SECRET": "s"}, "TWILIO_API_KEY_SID", "SK and 32"),
    (Twilio, {"TWILIO_PHONE_NUMBER": "11 98765-4321"}, "TWILIO_PHONE_NUMBER", "country code"),
    (Twilio, {"TWILIO_MESSAGING_SERVICE_SID": "MG1"}, "TWILIO_MESSAGING_SERVICE_SID", "MG and 32"),
    (Twilio, {"TWILIO_API_BASE": "http://api.twilio.com"}, "TWILIO_API_BASE", "https://"),
    (Smtp, {"SMTP_HOST": "smtp://smtp.example.com"}, "SMTP_HOST", "without smtp://"),
    (Smtp, {"SMTP_PORT": "70000"}, "SMTP_PORT", "587"),
    (Smtp, {"SMTP_PORT": "mail"}, "SMTP_PORT", "587"),
    (Smtp, {"SMTP_PORT": "0465"}, "SMTP_PORT", "587"),
    (Smtp, {"SMTP_FROM": "ana"}, "SMTP_FROM", "one address"),
    (Smtp, {"SMTP_FROM": "ana@example.com, eva@example.com"}, "SMTP_FROM", "one address"),
    (Smtp, {"SMTP_FROM": "Silva, Ana <ana@example.com>"}, "SMTP_FROM", "double quotes"),
    (Smtp, {"SMTP_FROM": "Ana <ana@example.com>\r\nBcc: eva@example.com"}, "SMTP_FROM", "U+000D (CARRIAGE RETURN) at"),
    (Smtp, {"SMTP_FROM": "Ana\n<ana@example.com>"}, "SMTP_FROM", "U+000A (LINE FEED) at character 4"),
    (Smtp, {"SMTP_FROM": '"Ana\nBcc: eva" <ana@example.com>'}, "SMTP_FROM", "U+000A (LINE FEED) at character 5"),
    (Smtp, {"SMTP_FROM": "Ana\u2028Eva <ana@example.com>"}, "SMTP_FROM", "U+2028 (LINE SEPARATOR) at character 4"),
    (
        Smtp,
        {"SMTP_USERNAME": "a", "SMTP_PASSWORD": "a\udcffb"},
        "SMTP_PASSWORD",
        "U+DCFF (half of a surrogate pair) at character 2",
    ),
    (Smtp, {"SMTP_TLS": "ssl"}, "SMTP_TLS", "starttls, implicit, or none"),
    (Smtp, {"SMTP_TLS": "none"}, "SMTP_TLS", "another machine"),
    (Smtp, {"SMTP_TLS": "implicit"}, "SMTP_TLS", "say starttls"),
    (Smtp, {"SMTP_TLS": "implicit", "SMTP_PORT": "587"}, "SMTP_TLS", "say starttls"),
    (Smtp, {"SMTP_TLS": "starttls", "SMTP_PORT": "465"}, "SMTP_TLS", "say implicit"),
    (Smtp, {"SMTP_CA_FILE": "/nowhere/ca.pem"}, "SMTP_CA_FILE", "names no file"),
    (Smtp, {"SMTP_LIST_UNSUBSCRIBE": "http://example.com"}, "SMTP_LIST_UNSUBSCRIBE", "mailto: or https:"),
    (Smtp, {"SMTP_LIST_UNSUBSCRIBE": "https://a\r\nBcc: x"}, "SMTP_LIST_UNSUBSCRIBE", "mailto: or https:"),
    (Smtp, {**SECOND, "SMTP_FALLBACK_HOST": "smtp://x"}, "SMTP_FALLBACK_HOST", "without smtp://"),
    (Smtp, {**SECOND, "SMTP_FALLBACK_PORT": "70000"}, "SMTP_FALLBACK_PORT", "587"),
    (Smtp, {**SECOND, "SMTP_FALLBACK_TLS": "none"}, "SMTP_FALLBACK_TLS", "another machine"),
    (Smtp, {**SECOND, "SMTP_FALLBACK_TLS": "implicit"}, "SMTP_FALLBACK_TLS", "say starttls"),
    (Smtp, {**SECOND, "SMTP_FALLBACK_TLS": "starttls", "SMTP_FALLBACK_PORT": "465"}, "SMTP_FALLBACK_TLS", "implicit"),
    (Smtp, {**SECOND, "SMTP_FALLBACK_CA_FILE": "/nowhere/ca.pem"}, "SMTP_FALLBACK_CA_FILE", "names no file"),
    (WhatsApp, {"WHATSAPP_ACCESS_TOKEN": "two words"}, "WHATSAPP_ACCESS_TOKEN", "EAA"),
    (WhatsApp, {"WHATSAPP_PHONE_NUMBER_ID": "+5511987654321"}, "WHATSAPP_PHONE_NUMBER_ID", "5 to 20 digits"),
    (WhatsApp, {"WHATSAPP_BUSINESS_ACCOUNT_ID": "123"}, "WHATSAPP_BUSINESS_ACCOUNT_ID", "5 to 20 digits"),
    (WhatsApp, {"WHATSAPP_APP_SECRET": HEX.upper()}, "WHATSAPP_APP_SECRET", "lower case"),
    (WhatsApp, {"WHATSAPP_WEBHOOK_VERIFY_TOKEN": "short"}, "WHATSAPP_WEBHOOK_VERIFY_TOKEN", "16 characters"),
    (WhatsApp, {"WHATSAPP_API_VERSION": "26"}, "WHATSAPP_API_VERSION", "v26.0"),
    (WhatsApp, {"WHATSAPP_API_BASE": "https://u:p@graph.facebook.com"}, "WHATSAPP_API_BASE", "no user name"),
    (Stripe, {"STRIPE_SECRET_KEY": "pk_test_abc"}, "STRIPE_SECRET_KEY", "rk_test_"),
    (Stripe, {"STRIPE_WEBHOOK_SECRET": "abc"}, "STRIPE_WEBHOOK_SECRET", "whsec_"),
    (Stripe, {"NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "abc"}, "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY", "pk_test_"),
    (Stripe, {"NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "rk_test_a"}, "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY", "secret key"),
    (Stripe, {"STRIPE_PUBLISHABLE_KEY": "pk_test_other"}, "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY", "differ"),
    (Clerk, {"CLERK_SECRET_KEY": "sk_test_short"}, "CLERK_SECRET_KEY", "sk_test_"),
    (
        Clerk,
        {"NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": CLERK["CLERK_SECRET_KEY"]},
        "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY",
        "secret key",
    ),
    (Clerk, {"NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": HOST_WITHOUT_DOT}, "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY", "cut short"),
    (Clerk, {"NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": NO_DOLLAR}, "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY", "cut short"),
    (Clerk, {"NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": "pk_test_x"}, "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY", "cut short"),
    (Clerk, {"CLERK_PUBLISHABLE_KEY": "pk_test_other"}, "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY", "differ"),
    (Clerk, {"CLERK_AUTHORIZED_PARTIES": "https://app.example.com/x"}, "CLERK_AUTHORIZED_PARTIES", "origin"),
    (Clerk, {"CLERK_AUTHORIZED_PARTIES": "https://App.example.com"}, "CLERK_AUTHORIZED_PARTIES", "small letters"),
    (Clerk, {"CLERK_AUTHORIZED_PARTIES": "http://app.example.com"}, "CLERK_AUTHORIZED_PARTIES", "https://"),
    (Clerk, {"CLERK_AUTHORIZED_PARTIES": "*"}, "CLERK_AUTHORIZED_PARTIES", "https://"),
    (Clerk, {"CLERK_PERSONAL_TENANT": "mine"}, "CLERK_PERSONAL_TENANT", "default, own or refuse"),
    (Clerk, {"CLERK_CLOCK_LEEWAY": "600"}, "CLERK_CLOCK_LEEWAY", "0 to 60"),
    (Clerk, {"CLERK_ROLE_SCOPES": '{"org:a:b:c": []}'}, "CLERK_ROLE_SCOPES", "permission"),
    (Clerk, {"CLERK_ROLE_SCOPES": "admin"}, "CLERK_ROLE_SCOPES", "JSON object"),
    (Clerk, {"CLERK_ROLE_SCOPES": '{"admin": ["*"]}'}, "CLERK_ROLE_SCOPES", "org:"),
    (Clerk, {"CLERK_ROLE_SCOPES": '{"org:admin": "*"}'}, "CLERK_ROLE_SCOPES", "list of scopes"),
    (Clerk, {"CLERK_ROLE_SCOPES": '{"org:admin": ["EVERYTHING"]}'}, "CLERK_ROLE_SCOPES", "MESSAGES_READ"),
    (Clerk, {"CLERK_WEBHOOK_SIGNING_SECRET": "whsec_abcde"}, "CLERK_WEBHOOK_SIGNING_SECRET", "cut short"),
    (Clerk, {"CLERK_WEBHOOK_SIGNING_SECRET": "abc"}, "CLERK_WEBHOOK_SIGNING_SECRET", "whsec_"),
    (Clerk, {"CLERK_JWT_KEY": "not a key"}, "CLERK_JWT_KEY", "BEGIN and END"),
    (Clerk, {"CLERK_JWT_KEY": public_pem(1024)}, "CLERK_JWT_KEY", "2048"),
    (Clerk, {"CLERK_MACHINE_SECRET_KEY": "sk_abc"}, "CLERK_MACHINE_SECRET_KEY", "ak_"),
    (Clerk, {"CLERK_JWKS_URL": "http://clerk.example.com"}, "CLERK_JWKS_URL", "https://"),
    (Google, {"GOOGLE_CLIENT_ID": "abc"}, "GOOGLE_CLIENT_ID", ".apps.googleusercontent.com"),
    (Google, {"GOOGLE_CALENDAR_ID": "mine"}, "GOOGLE_CALENDAR_ID", "primary"),
    (Google, {"GOOGLE_DELEGATED_USER": "ana@example.com"}, "GOOGLE_DELEGATED_USER", "service account"),
    (Google, {"GOOGLE_TOKEN_URL": "https://x/token?y=1"}, "GOOGLE_TOKEN_URL", "question mark"),
    (Google, GOOGLE_ACCOUNT, "GOOGLE_SERVICE_ACCOUNT_JSON", "keep one way"),
]

BROKEN_ACCOUNTS = [
    ("not json", "base64"),
    (in_base64("[]"), "base64"),
    (service_account(type="authorized_user"), "service_account"),
    (service_account(client_email=None, token_uri=None), "client_email and token_uri"),
    (service_account(private_key="-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"), "private_key"),
]

LIVE_CLERK = {"CLERK_SECRET_KEY": "sk_live_" + "a" * 20, **CLERK_IN_PRODUCTION}
LIVE_STRIPE = {"STRIPE_SECRET_KEY": "rk_live_a", "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "pk_live_a"}


@pytest.mark.parametrize("model", CASES)
def test_complete_settings_are_taken(model: type[IntegrationSettings]) -> None:
    assert load(model, CASES[model]).state is State.COMPLETE


@pytest.mark.parametrize("model", CASES)
def test_without_required_settings_an_integration_is_absent_regardless_of_addresses_and_defaults(
    model: type[IntegrationSettings],
) -> None:
    defaults = {
        "TWILIO_API_BASE": "https://t",
        "SMTP_PORT": "25",
        "WHATSAPP_API_VERSION": "v1.0",
        "GOOGLE_API_BASE": "x",
    }
    loaded = load(model, defaults)
    assert (loaded.state, loaded.value, loaded.problems) == (State.ABSENT, None, ())


@pytest.mark.parametrize(("model", "left_out"), [(model, name) for model, given in CASES.items() for name in given])
def test_incomplete_settings_name_what_is_missing_and_what_to_do(
    model: type[IntegrationSettings], left_out: str
) -> None:
    loaded = load(model, {name: text for name, text in CASES[model].items() if name != left_out})
    assert loaded.state is State.INCOMPLETE
    assert [problem.setting for problem in loaded.problems] == [left_out]
    assert loaded.problems[0].message.startswith("is missing: ")
    assert len(loaded.problems[0].message) > len("is missing: ") + 10


def test_a_right_value_is_taken(subtests: pytest.Subtests) -> None:
    for model, changes in GOOD:
        with subtests.test(f"{model.__module__}: {changes}"):
            assert load(model, {**CASES[model], **changes}).problems == ()


def test_a_wrong_value_is_refused_with_advice(subtests: pytest.Subtests) -> None:
    for model, changes, setting, mend in WRONG:
        with subtests.test(f"{setting}: {changes}"):
            loaded = load(model, {**CASES[model], **changes})
            assert loaded.state is State.INVALID
            assert loaded.problems[0].setting == setting
            assert mend in str(loaded.problems[0])
            assert {problem.setting for problem in loaded.problems} == {setting}


@pytest.mark.parametrize(("text", "mend"), BROKEN_ACCOUNTS, ids=range(len(BROKEN_ACCOUNTS)))
def test_an_invalid_service_account_is_refused_with_advice(text: str, mend: str) -> None:
    loaded = load(Google, {"GOOGLE_SERVICE_ACCOUNT_JSON": text})
    assert loaded.state is State.INVALID
    assert mend in loaded.problems[0].message


def test_a_service_account_with_literal_or_real_line_breaks_loads() -> None:
    for text in (service_account().replace("\\n", "\\\\n"), service_account().replace("\\n", "\n")):
        settings = load(Google, {"GOOGLE_SERVICE_ACCOUNT_JSON": text}).value
        assert settings is not None
        assert settings.service_account is not None
        assert settings.service_account.private_key.get_secret_value().startswith("-----BEGIN PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("model", "half", "other"),
    [
        (Twilio, {"TWILIO_API_KEY_SID": f"SK{HEX}"}, "TWILIO_API_KEY_SECRET"),
        (Twilio, {"TWILIO_API_KEY_SECRET": "s"}, "TWILIO_API_KEY_SID"),
        (Smtp, {"SMTP_USERNAME": "u"}, "SMTP_PASSWORD"),
        (Smtp, {"SMTP_PASSWORD": "p"}, "SMTP_USERNAME"),
        (Smtp, {**SECOND, "SMTP_FALLBACK_USERNAME": "u"}, "SMTP_FALLBACK_PASSWORD"),
        (Smtp, {**SECOND, "SMTP_FALLBACK_PASSWORD": "p"}, "SMTP_FALLBACK_USERNAME"),
        (Smtp, {"SMTP_FALLBACK_TLS": "starttls"}, "SMTP_FALLBACK_HOST"),
    ],
)
def test_what_belongs_together_comes_together(
    model: type[IntegrationSettings], half: Mapping[str, str], other: str
) -> None:
    loaded = load(model, {**CASES[model], **half})
    assert loaded.state is State.INCOMPLETE
    assert [problem.setting for problem in loaded.problems] == [other]


def test_google_without_a_way_to_sign_in_names_both() -> None:
    loaded = load(Google, {"GOOGLE_DELEGATED_USER": "ana@example.com"})
    assert loaded.state is State.INCOMPLETE
    assert "GOOGLE_REFRESH_TOKEN" in loaded.problems[0].message


def test_wrong_forms_missing_values_and_broken_rules_are_found_together() -> None:
    loaded = load(Twilio, {"TWILIO_AUTH_TOKEN": "x", "TWILIO_API_KEY_SID": f"SK{HEX}"})
    assert {problem.setting for problem in loaded.problems} == {
        "TWILIO_AUTH_TOKEN",
        "TWILIO_ACCOUNT_SID",
        "TWILIO_API_KEY_SECRET",
        "TWILIO_PHONE_NUMBER",
    }


@pytest.mark.parametrize(
    ("model", "public"),
    [(Stripe, "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY"), (Clerk, "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY")],
)
def test_both_spellings_of_a_publishable_key_are_read(model: type[IntegrationSettings], public: str) -> None:
    given = dict(CASES[model])
    private = public.removeprefix("NEXT_PUBLIC_")
    assert load(model, {**given, private: given[public]}).state is State.COMPLETE
    value = given.pop(public)
    assert load(model, {**given, private: value}).state is State.COMPLETE
    assert [problem.setting for problem in load(model, {**given, private: "wrong"}).problems] == [private]


@pytest.mark.parametrize(("model", "live"), [(Stripe, LIVE_STRIPE), (Clerk, LIVE_CLERK)])
def test_a_live_key_is_refused_outside_production(model: type[IntegrationSettings], live: Mapping[str, str]) -> None:
    for environment in ({}, {"APP_ENV": "test"}):
        loaded = load(model, {**CASES[model], **live, **environment})
        assert loaded.state is State.INVALID
        assert "use test keys here" in loaded.problems[0].message


def test_live_keys_are_taken_in_production() -> None:
    assert load(Stripe, {**STRIPE, **LIVE_STRIPE, "APP_ENV": "production"}).state is State.COMPLETE


@pytest.mark.parametrize(("model", "changes"), [(Stripe, {"STRIPE_SECRET_KEY": "rk_live_a"}), (Clerk, LIVE_CLERK)])
def test_a_test_key_beside_a_live_one_is_refused(model: type[IntegrationSettings], changes: Mapping[str, str]) -> None:
    loaded = load(model, {**CASES[model], **changes, "APP_ENV": "production"})
    assert ["same mode" in problem.message for problem in loaded.problems] == [True]


def test_twilio_sends_with_the_first_auth_token_and_keeps_all() -> None:
    settings = load(Twilio, {**TWILIO, "TWILIO_AUTH_TOKEN": f"{HEX}, {OTHER_HEX}"}).value
    assert settings is not None
    assert settings.auth_token.get_secret_value() == HEX
    assert [token.get_secret_value() for token in settings.auth_tokens] == [HEX, OTHER_HEX]


@pytest.mark.parametrize(
    ("changes", "tls"), [({}, "starttls"), ({"SMTP_PORT": "465"}, "implicit"), ({"SMTP_PORT": "2525"}, "starttls")]
)
def test_the_port_decides_the_encryption_that_was_not_chosen(changes: Mapping[str, str], tls: str) -> None:
    settings = load(Smtp, {**SMTP, **changes}).value
    assert settings is not None
    assert settings.tls == tls


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("ana@example.com", "", "ana@example.com"),
        ("<ana@example.com>", "", "ana@example.com"),
        ("Ana Silva <ana@example.com>", "Ana Silva", "ana@example.com"),
        ('"Silva, Ana" <ana@example.com>', "Silva, Ana", "ana@example.com"),
        ("Loja Olá <olá@example.com>", "Loja Olá", "olá@example.com"),
    ],
)
def test_a_sender_has_a_name_and_an_address(text: str, name: str, address: str) -> None:
    settings = load(Smtp, {**SMTP, "SMTP_FROM": text}).value
    assert settings is not None
    assert (settings.sender_name, settings.sender_address) == (name, address)


def test_mails_name_an_address_to_unsubscribe_only_where_the_operator_names_one() -> None:
    settings = load(Smtp, SMTP).value
    told = load(Smtp, {**SMTP, "SMTP_LIST_UNSUBSCRIBE": "https://example.com/stop"}).value
    assert settings is not None
    assert told is not None
    assert settings.unsubscribe_address is None
    assert told.unsubscribe_address == "https://example.com/stop"


def test_clerk_derives_issuer_and_keys_from_the_publishable_key() -> None:
    settings = load(Clerk, CLERK).value
    assert settings is not None
    assert settings.issuer == "https://clean-mayfly-62.clerk.accounts.dev"
    assert settings.jwks_url == "https://clean-mayfly-62.clerk.accounts.dev/.well-known/jwks.json"


@pytest.mark.parametrize("left_out", list(CLERK_IN_PRODUCTION))
def test_who_may_sign_in_is_said_by_name_in_production(left_out: str) -> None:
    given = {**CLERK, **CLERK_IN_PRODUCTION, "APP_ENV": "production"}
    del given[left_out]
    loaded = load(Clerk, given)
    assert loaded.state is State.INCOMPLETE
    assert [problem.setting for problem in loaded.problems] == [left_out]


@pytest.mark.parametrize(
    ("model", "changes", "simulated", "sandbox"),
    [
        (Twilio, {}, False, False),
        (Twilio, {"TWILIO_API_BASE": "http://localhost:9000/twilio"}, True, False),
        (Smtp, {}, False, False),
        (Smtp, {"SMTP_HOST": "127.0.0.1"}, True, False),
        (Smtp, {"SMTP_HOST": "127.0.0.1", **SECOND}, False, False),
        (Smtp, {"SMTP_HOST": "127.0.0.1", "SMTP_FALLBACK_HOST": "localhost"}, True, False),
        (WhatsApp, {"WHATSAPP_API_BASE": "http://[::1]:9000"}, True, False),
        (Stripe, {}, False, True),
        (Stripe, {**LIVE_STRIPE, "APP_ENV": "production"}, False, False),
        (Stripe, {"STRIPE_API_BASE": "http://127.0.0.1:9000"}, True, True),
        (Clerk, {}, False, True),
        (Clerk, {"CLERK_API_BASE": "http://127.0.0.1:9000"}, True, True),
        (Clerk, {"CLERK_API_BASE": "http://127.0.0.1:9", "CLERK_JWKS_URL": "https://a.example/jwks"}, False, True),
        (Clerk, {"CLERK_API_BASE": "http://127.0.0.1:9", "CLERK_JWKS_URL": "http://127.0.0.1:9/jwks"}, True, True),
        (Google, {"GOOGLE_API_BASE": "http://127.0.0.1:9000"}, False, False),
        (Google, {"GOOGLE_API_BASE": "http://127.0.0.1:9", "GOOGLE_TOKEN_URL": "http://127.0.0.1:9/t"}, True, False),
    ],
)
def test_the_addresses_and_keys_tell_how_real_calls_are(
    model: type[IntegrationSettings], changes: Mapping[str, str], simulated: bool, sandbox: bool
) -> None:
    settings = load(model, {**CASES[model], **changes}).value
    assert settings is not None
    assert (settings.is_simulated(), settings.is_sandbox()) == (simulated, sandbox)
