"""The rules of the core settings."""

import base64
import json
from pathlib import Path

import pytest

from core.settings import AppEnv, CoreSettings, Manifest, State, TrustMode, load
from core.settings.addresses import is_loopback, origin_of
from core.settings.values import digest

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(32)).decode()
NEON = "postgresql://app:npg_x@ep-cool-1-pooler.eu-central-1.aws.neon.tech/db?sslmode=require&channel_binding=require"
PRODUCTION = {
    "APP_ENV": "production",
    "PUBLIC_BASE_URL": "https://api.example.com",
    "DATABASE_URL": NEON,
    "REDIS_URL": "rediss://:secret@cache:6379/0",
    "ENCRYPTION_KEYS": f"k1:{KEY}",
}


def core(**environment: str) -> CoreSettings:
    loaded = load(CoreSettings, environment)
    assert loaded.value is not None, loaded.problems
    return loaded.value


def test_development_needs_no_setting() -> None:
    settings = core()
    assert settings.app_env is AppEnv.DEVELOPMENT
    assert settings.public_base_url == "http://localhost:8000"
    assert settings.database_prepared_statements
    assert (settings.database_url, settings.redis_url, settings.encryption_keys) == (None, None, ())


def test_production_needs_its_address_its_stores_and_its_keys() -> None:
    loaded = load(CoreSettings, {"APP_ENV": "production"})
    assert loaded.state is State.INCOMPLETE
    assert {problem.setting for problem in loaded.problems} == PRODUCTION.keys() - {"APP_ENV"}
    assert core(**PRODUCTION).is_production


def test_every_problem_is_found_at_once_the_wrong_before_the_missing() -> None:
    loaded = load(CoreSettings, {"APP_ENV": "production", "LOG_LEVEL": "loud", "REDIS_URL": "http://cache"})
    assert loaded.state is State.INVALID
    assert [problem.setting for problem in loaded.problems] == [
        "REDIS_URL",
        "LOG_LEVEL",
        "PUBLIC_BASE_URL",
        "DATABASE_URL",
        "ENCRYPTION_KEYS",
    ]


RIGHT_VALUES = [
    ("APP_ENV", "test"),
    ("PUBLIC_BASE_URL", "http://127.0.0.7:8100"),
    ("PUBLIC_BASE_URL", "http://[::1]:8100"),
    ("PUBLIC_BASE_URL", "https://api.example.com/interalpha"),
    ("DATABASE_URL", NEON),
    ("DATABASE_URL", "postgres://u:p@localhost/db"),
    ("DATABASE_URL", "postgresql+asyncpg://u:p%2F%23@localhost:5432/db"),
    ("DATABASE_URL_WORKER", NEON),
    ("DATABASE_URL_DIRECT", NEON.replace("-pooler", "")),
    ("DATABASE_PREPARED_STATEMENTS", "false"),
    ("REDIS_URL", "redis://cache"),
    ("REDIS_URL", "unix:///run/valkey.sock"),
    ("ENCRYPTION_KEYS", f"k2:{KEY}, k1:{OTHER_KEY}"),
    ("LOG_LEVEL", "DEBUG"),
    ("RETRY_HOURS_EMAIL", "0.1"),
    ("RETRY_HOURS_SMS", "72"),
    ("INTERALPHA_HOME", "/var/lib/interalpha"),
]


def test_a_right_value_is_taken(subtests: pytest.Subtests) -> None:
    for name, value in RIGHT_VALUES:
        with subtests.test(f"{name}: {value}"):
            assert load(CoreSettings, {name: value}).state is State.COMPLETE


WRONG_VALUES = [
    ("APP_ENV", "prod", "development, test or production"),
    ("PUBLIC_BASE_URL", "api.example.com", "https://host"),
    ("PUBLIC_BASE_URL", "ftp://api.example.com", "https://host"),
    ("PUBLIC_BASE_URL", "http://api.example.com", "must begin with https://"),
    ("PUBLIC_BASE_URL", "http://localhost.evil.com", "must begin with https://"),
    ("PUBLIC_BASE_URL", "https://user:pw@api.example.com", "no user name"),
    ("PUBLIC_BASE_URL", "https://api.example.com?", "question mark"),
    ("PUBLIC_BASE_URL", "https://api.example.com/#x", "question mark or #"),
    ("PUBLIC_BASE_URL", "https://api.exam ple.com", "https://host"),
    ("PUBLIC_BASE_URL", "https://api.example.com:port", "https://host"),
    ("DATABASE_URL", "mysql://u:p@localhost/db", "postgresql://"),
    ("DATABASE_URL", "postgresql:///db", "names no host"),
    ("DATABASE_URL", "postgresql://u:p@localhost", "names no database"),
    ("DATABASE_URL", "postgresql://u@localhost/a/b", "names no database"),
    ("DATABASE_URL", "postgresql://u:p/w@localhost/db", "percent-encode"),
    ("DATABASE_URL", "postgresql://u:12/w@localhost/db", "percent-encode"),
    ("DATABASE_URL", "postgresql://u:12#w@localhost/db", "percent-encode"),
    ("DATABASE_URL_DIRECT", NEON, "without -pooler"),
    ("DATABASE_PREPARED_STATEMENTS", "perhaps", "true or false"),
    ("REDIS_URL", "http://cache:6379", "redis://"),
    ("REDIS_URL", "redis://", "names no server"),
    ("REDIS_URL", "unix://", "names no server"),
    ("ENCRYPTION_KEYS", KEY, "id:base64 of 32 bytes"),
    ("ENCRYPTION_KEYS", f"K1:{KEY}", "lower-case"),
    ("ENCRYPTION_KEYS", "k1:%%%", "not base64"),
    ("ENCRYPTION_KEYS", "k1:AAAA", "a key here has 3"),
    ("ENCRYPTION_KEYS", f"k1:{KEY},k1:{OTHER_KEY}", "an id of its own"),
    ("ENCRYPTION_KEYS", f"k1:{KEY},", "id:base64"),
    ("LOG_LEVEL", "loud", "debug, info, warning or error"),
    *(
        (f"RETRY_HOURS_{channel}", wrong, "hours, from 0.1 to 72")
        for channel in ("WHATSAPP", "SMS", "EMAIL")
        for wrong in ("0", "0.09", "72.1", "-1", "nan", "inf", "4h", "4,5", "1e9")
    ),
]


def test_a_wrong_value_is_refused_with_advice(subtests: pytest.Subtests) -> None:
    for name, value, mend in WRONG_VALUES:
        with subtests.test(f"{name}: {value}"):
            loaded = load(CoreSettings, {name: value})
            assert loaded.state is State.INVALID
            assert [problem.setting for problem in loaded.problems] == [name]
            assert mend in loaded.problems[0].message


def test_the_first_encryption_key_is_the_current_one() -> None:
    settings = core(ENCRYPTION_KEYS=f"k2:{KEY},k1:{OTHER_KEY}")
    assert list(settings.sealing_keys.items()) == [("k2", bytes(range(32))), ("k1", bytes(32))]


def test_a_last_slash_is_dropped_so_that_paths_can_be_added() -> None:
    assert core(PUBLIC_BASE_URL="https://api.example.com/").public_base_url == "https://api.example.com"


@pytest.mark.parametrize(
    "address", ["localhost", "127.9.9.9", "::1", "[::1]", "http://LOCALHOST:1/x", "http://[::1]:1"]
)
def test_this_machine_is_recognised(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1.evil.com", "http://0.0.0.0", "https://localhost.com", "http://[", "10.0.0.1"]
)
def test_another_machine_is_not_taken_for_this_one(address: str) -> None:
    assert not is_loopback(address)


def test_origins_are_read_as_browsers_send_them() -> None:
    settings = core(CORS_ORIGINS="https://App.example.com:443, http://localhost:5173")
    assert settings.cors_origins == ("https://app.example.com", "http://localhost:5173")
    assert origin_of("https://api.example.com:8443/path") == "https://api.example.com:8443"


@pytest.mark.parametrize("value", ["*", "https://app.example.com/path", "app.example.com", "http://app.example.com"])
def test_an_origin_is_a_scheme_and_a_host(value: str) -> None:
    loaded = load(CoreSettings, {"CORS_ORIGINS": value})
    assert [problem.setting for problem in loaded.problems] == ["CORS_ORIGINS"]


@pytest.mark.parametrize("prefix", ["", "sha256:"])
def test_a_manifest_is_read_when_the_settings_are(tmp_path: Path, prefix: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({prefix + digest("{ hello }"): "{ hello }"}))
    settings = core(TRUSTED_DOCUMENTS=str(file), TRUSTED_DOCUMENTS_MODE="ENFORCE")
    assert settings.trusted_documents == Manifest({digest("{ hello }"): "{ hello }"})
    assert settings.trusted_documents_mode is TrustMode.ENFORCE


@pytest.mark.parametrize("text", ["", "[", "[]", '{"a": 1}', '{"a": "{ hello }"}'])
def test_an_invalid_manifest_is_a_problem(tmp_path: Path, text: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(text)
    loaded = load(CoreSettings, {"TRUSTED_DOCUMENTS": str(file)})
    assert [problem.setting for problem in loaded.problems] == ["TRUSTED_DOCUMENTS"]


def test_nothing_is_enforced_without_a_manifest() -> None:
    loaded = load(CoreSettings, {"TRUSTED_DOCUMENTS_MODE": "enforce"})
    assert [(problem.setting, problem.missing) for problem in loaded.problems] == [("TRUSTED_DOCUMENTS", True)]
