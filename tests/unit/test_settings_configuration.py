"""The whole configuration at once, the variables that describe it, and the files made from them."""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from dotenv import dotenv_values

from api.configuration import load_configuration
from api.references import env_example
from core.ports import Channel, Mode
from core.settings import CoreSettings, State, Variable, describe, load, read_environment
from integrations.registry import all_integrations
from tests.unit.settings_samples import CLERK, GOOGLE_OAUTH, HEX, SMTP, STRIPE, TWILIO, WHATSAPP

ROOT = Path(__file__).parents[2]
NAMES = ["clerk", "google_calendar", "smtp", "stripe", "twilio", "whatsapp"]
EVERYTHING = {**CLERK, **GOOGLE_OAUTH, **SMTP, **STRIPE, **TWILIO, **WHATSAPP}
POOLED = "postgresql://u:p@ep-x-1-pooler.eu.aws.neon.tech/db"
PRODUCTION = {
    "APP_ENV": "production",
    "PUBLIC_BASE_URL": "https://api.example.com",
    "DATABASE_URL": "postgresql://u:p@db/app",
    "REDIS_URL": "redis://cache",
    "ENCRYPTION_KEYS": "k1:" + "A" * 43 + "=",
}


def every_variable() -> list[Variable]:
    models = (CoreSettings, *(card.settings for card in all_integrations().values()))
    return [variable for model in models for variable in describe(model)]


def warnings(environment: Mapping[str, str]) -> list[str]:
    return [str(warning) for warning in load_configuration(environment).warnings]


def test_the_registry_finds_every_folder_with_a_card() -> None:
    assert list(all_integrations()) == NAMES
    assert all(card.name == name for name, card in all_integrations().items())


def test_the_channels_are_served_by_one_integration_each() -> None:
    served = {name: card.channels for name, card in all_integrations().items() if card.channels}
    assert served == {"whatsapp": {Channel.WHATSAPP}, "twilio": {Channel.SMS}, "smtp": {Channel.EMAIL}}


def test_an_empty_environment_is_well_and_configures_no_integration() -> None:
    configuration = load_configuration({})
    assert configuration.core is not None
    assert (configuration.problems, configuration.warnings) == ((), ())
    assert {one.state for one in configuration.integrations.values()} == {State.ABSENT}
    assert {one.mode for one in configuration.integrations.values()} == {None}


def test_everything_can_be_configured_at_once() -> None:
    configuration = load_configuration(EVERYTHING)
    assert configuration.problems == ()
    modes = {name: one.mode for name, one in configuration.integrations.items()}
    assert modes == dict.fromkeys(NAMES, Mode.LIVE) | {"clerk": Mode.SANDBOX, "stripe": Mode.SANDBOX}


def test_core_and_integration_problems_are_found_at_once_worst_first() -> None:
    configuration = load_configuration(
        {"APP_ENV": "production", "LOG_LEVEL": "loud", "CLERK_SECRET_KEY": "x", "TWILIO_ACCOUNT_SID": f"AC{HEX}"}
    )
    assert configuration.core is None
    settings = [problem.setting for problem in configuration.problems]
    assert settings[:2] == ["LOG_LEVEL", "CLERK_SECRET_KEY"]
    assert {"DATABASE_URL", "CLERK_WEBHOOK_SIGNING_SECRET", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"} <= set(settings)
    assert [problem.missing for problem in configuration.problems] == sorted(p.missing for p in configuration.problems)
    states = {name: one.state for name, one in configuration.integrations.items() if one.state is not State.ABSENT}
    assert states == {"clerk": State.INVALID, "twilio": State.INCOMPLETE}


@pytest.mark.parametrize("value", ["sk_live_abc", "rk_test_abc", "whsec_abc"])
def test_a_secret_key_in_any_variable_that_browsers_see_is_refused(value: str) -> None:
    problems = load_configuration({"NEXT_PUBLIC_ANYTHING": value}).problems
    assert [problem.setting for problem in problems] == ["NEXT_PUBLIC_ANYTHING"]
    assert load_configuration({"NEXT_PUBLIC_ANYTHING": "pk_live_abc"}).problems == ()


def test_a_name_with_our_prefix_that_is_close_to_nothing_is_answered_with_all_that_begin_so() -> None:
    for name in ("INTERALPHA_DEBUG", "INTERALPHA_FOLDER", "INTERALPHA_"):
        [warning] = warnings({name: "x"})
        assert warning.startswith(f"{name} is not a known setting: those that begin so are INTERALPHA_API_KEY, "), name
        assert warning.endswith("INTERALPHA_HOME and INTERALPHA_URL")


MISSPELLED = {
    "TWILIO_PHONE_NUMER": "did you mean TWILIO_PHONE_NUMBER?",
    "INTERALPHA_HOEM": "did you mean INTERALPHA_HOME?",
    "APP_EVN": "did you mean APP_ENV?",
    "PAP_ENV": "did you mean APP_ENV?",
    "SMPT_TLS": "did you mean SMTP_TLS?",
    "SMTP-HOST": "did you mean SMTP_HOST?",
    "REDISURL": "did you mean REDIS_URL?",
    "WHATSAPP_ACESS_TOKEN": "did you mean WHATSAPP_ACCESS_TOKEN?",
    "SMTP_USER": "did you mean SMTP_USERNAME or",
    "SMTP_PASS": "did you mean SMTP_PASSWORD or",
    "WHATSAPP_TOKEN": "WHATSAPP_ACCESS_TOKEN",
    "ENCRYPTION_KEY": "did you mean ENCRYPTION_KEYS?",
    "DATABSE_URL": "did you mean DATABASE_URL?",
    "REDIS_URI": "did you mean REDIS_URL?",
    "INTERALPHA_TWILIO_AUTH_TOKEN": "did you mean TWILIO_AUTH_TOKEN?",
    "INTERALPHA_DATABASE_URL": "did you mean DATABASE_URL?",
    "INTERALPHA_API_KEY_FIEL": "did you mean INTERALPHA_API_KEY_FILE?",
    "INTERALPHA_SMTP_PASS": "did you mean SMTP_PASSWORD or",
    "twilio_auth_token": "names of settings are in capitals, TWILIO_AUTH_TOKEN",
    "Smtp_Host": "names of settings are in capitals, SMTP_HOST",
    "TWILIO_AUTH_TOKEN_FIL": "did you mean TWILIO_AUTH_TOKEN_FILE?",
    "SMTP_HOST_FILE": "SMTP_HOST is not a secret: set it to its value",
}


def test_a_name_close_to_one_of_ours_is_a_warning_with_the_right_one() -> None:
    for name, said in MISSPELLED.items():
        [warning] = warnings({name: "x"})
        assert warning.startswith(f"{name} "), name
        assert said in warning, (name, warning)


def test_no_name_of_ours_and_no_other_programs_is_a_warning(tmp_path: Path) -> None:
    text = "".join(
        path.read_text() for path in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("src/**/*.md")]
    )
    documented = set(re.findall(r"\bINTERALPHA_[A-Z_]*[A-Z]\b", text)) | {"PORT"}
    assert "INTERALPHA_API_KEY_FILE" in documented
    ours = {name for one in every_variable() for name in (one.name, *one.aliases)}
    secrets = {f"{name}_FILE" for one in every_variable() if one.secret for name in (one.name, *one.aliases)}
    others = "PATH HOME LANG USER PWD SHELL TERM EDITOR http_proxy no_proxy PYTHONPATH VIRTUAL_ENV NODE_ENV LOGNAME"
    others += " LOGLEVEL DATABASE_USER DATABASE_HOST REDIS_TLS_URL SMTP_SECURE PGSSLMODE HEROKU_APP_NAME FLY_REGION"
    others += " GOOGLE_APPLICATION_CREDENTIALS GOOGLE_API_KEY STRIPE_API_KEY TWILIO_REGION POSTGRES_PASSWORD PGHOST"
    for name in (*documented, *ours, *secrets, *others.split()):
        assert [one for one in warnings({name: "x"}) if "did you mean" in one or "is not read" in one] == [], name


def test_what_kubernetes_and_docker_set_for_services_is_no_warning() -> None:
    for service in ("INTERALPHA", "INTERALPHA_API", "SMTP", "TWILIO", "REDIS", "DATABASE"):
        told = warnings(
            {
                f"{service}_SERVICE_HOST": "10.0.0.11",
                f"{service}_SERVICE_PORT": "8000",
                f"{service}_SERVICE_PORT_HTTP": "8000",
                f"{service}_PORT_8000_TCP": "tcp://10.0.0.11:8000",
                f"{service}_PORT_8000_TCP_ADDR": "10.0.0.11",
                f"{service}_PORT_8000_TCP_PORT": "8000",
                f"{service}_PORT_8000_TCP_PROTO": "tcp",
                **({} if service == "SMTP" else {f"{service}_PORT": "tcp://10.0.0.11:8000"}),
            }
        )
        assert told == [], service
    assert "did you mean PORT?" in warnings({"INTERALPHA_PORT": "8000"})[0]


def test_settings_of_a_provider_that_is_not_built_warn_and_stop_nothing() -> None:
    for given, name in ((STRIPE, "stripe"), (GOOGLE_OAUTH, "google_calendar")):
        configuration = load_configuration(PRODUCTION | given)
        assert configuration.problems == ()
        assert [str(one) for one in configuration.warnings] == [
            f"{name} is set, and this version does not support it yet: its settings have no effect"
        ]
    # Nor do settings that are wrong, or not all there.
    half = load_configuration(PRODUCTION | {"STRIPE_SECRET_KEY": "x"})
    assert (half.problems, [one.setting for one in half.warnings][:2]) == ((), ["stripe", "STRIPE_SECRET_KEY"])
    for wrong in (
        {"NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "x"},
        {"NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "pk_live_a"},
        {"STRIPE_PUBLISHABLE_KEY": "pk_test_other"},
    ):
        found = load_configuration(PRODUCTION | STRIPE | wrong)
        assert found.problems == (), wrong
        assert len(found.warnings) > 1, wrong
    # What every browser would see is another matter.
    seen = load_configuration(PRODUCTION | STRIPE | {"NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "sk_test_abc"})
    assert [one.setting for one in seen.problems] == ["NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY"]


def test_quotation_marks_around_a_value_are_a_warning() -> None:
    assert (
        "quotation marks"
        in warnings(TWILIO | {"TWILIO_AUTH_TOKEN": "x"} | {"LOG_LEVEL": "info", "SMTP_PASSWORD": "'x'"})[0]
    )
    assert warnings({**SMTP, "SMTP_FROM": '"Silva, Ana" <ana@example.com>'}) == []


def test_a_pooled_database_without_a_direct_address_is_a_warning() -> None:
    assert "migrations need the direct address" in warnings({"DATABASE_URL": POOLED})[0]
    assert warnings({"DATABASE_URL": POOLED, "DATABASE_URL_DIRECT": POOLED.replace("-pooler", "")}) == []
    assert warnings({"DATABASE_URL": POOLED.replace("-pooler", "")}) == []


def test_what_stays_on_this_machine_is_a_warning_in_production_alone() -> None:
    local = {"PUBLIC_BASE_URL": "http://localhost:8000", **TWILIO, "TWILIO_API_BASE": "http://127.0.0.1:9000"}
    assert warnings(local) == []
    assert [warning.partition(" ")[0] for warning in warnings(PRODUCTION | local)] == ["PUBLIC_BASE_URL", "twilio"]
    assert warnings(PRODUCTION) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_dummy_values_of_every_folder_pass_its_own_validation(name: str) -> None:
    values = dotenv_values(ROOT / "src" / "integrations" / name / "example.env", interpolate=False)
    given = {key: text for key, text in values.items() if text}
    # What `interalpha dev` fills in.
    given |= {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": "1025"} if name == "smtp" else {}
    loaded = load(all_integrations()[name].settings, given)
    assert loaded.state is State.COMPLETE, loaded.problems


@pytest.mark.parametrize("name", NAMES)
def test_the_dummy_values_have_known_names_and_a_comment_each(name: str) -> None:
    known = {key for v in describe(all_integrations()[name].settings) for key in (v.name, *v.aliases)}
    lines = (ROOT / "src" / "integrations" / name / "example.env").read_text().splitlines()
    for before, line in pairwise(lines):
        if not line.startswith("#"):
            assert line.partition("=")[0] in known
            assert before.startswith("# ")


def test_a_copied_example_configures_nothing_and_overrides_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(env_example(), encoding="utf-8")
    assert read_environment(tmp_path, {}) == {}


def test_the_example_has_every_variable_under_one_comment_line() -> None:
    lines = env_example().splitlines()
    for variable in every_variable():
        places = [n for n, line in enumerate(lines) if re.match(rf"#?{variable.name}=", line)]
        assert len(places) == 1
        assert lines[places[0] - 1].startswith(f"# {variable.about}")
        assert lines[places[0] - 2] == "" or "=" in lines[places[0] - 2]


def test_the_example_contains_no_secret_value() -> None:
    filled = dotenv_values(stream=None, dotenv_path=ROOT / ".env.example")
    assert {filled[variable.name] for variable in every_variable() if variable.secret} == {""}


def test_every_variable_says_what_it_is_and_what_is_right(subtests: pytest.Subtests) -> None:
    for variable in every_variable():
        with subtests.test(variable.name):
            assert variable.about
            assert variable.fix
            assert not variable.about.endswith(".")
            assert not variable.fix.endswith(".")
            looks_secret = re.search(
                r"(SECRET|SECRET_KEY|TOKEN|PASSWORD|DATABASE_URL\w*|REDIS_URL|KEYS|_JSON)$", variable.name
            )
            assert variable.secret == bool(looks_secret)


@pytest.mark.parametrize("name", ["core", *NAMES])
def test_every_example_of_a_description_is_right(name: str) -> None:
    model = CoreSettings if name == "core" else all_integrations()[name].settings
    examples = {variable.name: variable.example for variable in describe(model) if variable.example}
    for name_of_a_file in ("SMTP_CA_FILE", "SMTP_FALLBACK_CA_FILE"):
        examples.pop(name_of_a_file, None)  # no such file here
    if name == "google_calendar":
        del examples["GOOGLE_DELEGATED_USER"]  # belongs to the other way to sign in
    if name == "twilio":
        examples["TWILIO_API_KEY_SECRET"] = "shown once"
    if name == "smtp":
        examples["SMTP_PASSWORD"] = examples["SMTP_FALLBACK_PASSWORD"] = "from the operator"
    assert load(model, examples).problems == ()
