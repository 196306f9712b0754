"""API keys in a terminal: created, shown once, listed without the secret, revoked."""

import json

import httpx
import pytest

from core.access.api_key_lookup import parse_key
from core.ports.identity import DEFAULT_TENANT
from tests.cli.processes import Dev, Run, wait_until

MAKE = ("api-keys", "create", "--name", "loja")


def status(dev: Dev, secret: str) -> int:
    answer = httpx.post(
        f"http://127.0.0.1:{dev.port}/graphql",
        json={"query": "{ viewer { apiKey { name } } }"},
        headers={"authorization": f"Bearer {secret}"},
    )
    return answer.status_code


def test_stdout_contains_the_key_and_nothing_else(run: Run) -> None:
    done = run(*MAKE, "--scope", "MESSAGES_SEND", "--scope", "messages_read")
    assert done.exit_code == 0, done.stderr
    assert parse_key(done.stdout.removesuffix("\n"))
    assert "MESSAGES_READ, MESSAGES_SEND" in done.stderr
    assert "store it now" in done.stderr


def test_a_key_lets_in_until_it_is_revoked(run: Run, dev: Dev) -> None:
    secret = run(*MAKE, "--scope", "all", "--expires-in", "90d").stdout.strip()
    assert status(dev, secret) == 200
    done = run("api-keys", "revoke", secret[:20], "--yes")
    assert (done.exit_code, done.stdout.startswith(f"✓ {secret[:20]} ")) == (0, True)
    wait_until(lambda: status(dev, secret) == 401, 5)


def test_the_list_shows_what_there_is_and_never_what_lets_in(run: Run) -> None:
    given = ("--kind", "allow-list", "--recipient", "+55 11 98765-4321", "--recipient", "ana@example.com")
    secret = run(*MAKE, "--scope", "MESSAGES_SEND", *given).stdout.strip()
    shown, as_json = run("api-keys", "list").stdout, run("api-keys", "list", "--json").stdout
    assert f"{secret[:21]}" in shown
    assert "to +55 11 9••••-4321, a••@example.com" in shown
    assert "made by cli" in shown
    for text in (shown, as_json):
        assert secret[21:] not in text
        assert "987654321" not in text
    newest = json.loads(as_json)[0]
    assert (newest["kind"], newest["scopes"], newest["createdBy"]) == ("ALLOW_LIST", ["MESSAGES_SEND"], "cli")


def test_a_key_is_made_for_a_program_to_read(run: Run) -> None:
    made = json.loads(run(*MAKE, "--scope", "MESSAGES_READ", "--kind", "test", "--json").stdout)
    assert parse_key(made["secret"])
    assert made["secret"].startswith(made["prefix"])
    assert made["prefix"].startswith("ia_test_")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*MAKE,), "--scope"),
        ((*MAKE, "--scope", "PLANETS_WRITE"), "PLANETS_WRITE"),
        ((*MAKE, "--scope", "all", "--kind", "allow-list"), "1 to 100 recipients"),
        ((*MAKE, "--scope", "all", "--recipient", "ana@example.com"), "ALLOW_LIST"),
        ((*MAKE, "--scope", "all", "--kind", "allow-list", "--recipient", "+55 11 8765-4321"), "+5511987654321"),
        ((*MAKE, "--scope", "all", "--tenant", "01900000-0000-7000-8000-00000000dead"), "no such tenant"),
        (("api-keys", "revoke", "ia_live_000000000000"), "--yes"),
        (("api-keys", "revoke", "ia_live_000000000000", "--yes"), "no such key"),
        (("api-keys", "revoke", "nonsense", "--yes"), "not how a key begins"),
    ],
)
def test_an_impossible_action_is_explained(run: Run, arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code != 0
    assert (done.stdout, words in done.stderr) == ("", True), done.stderr


def test_without_a_database_it_says_what_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERALPHA_HOME", "/nowhere")
    done = run("api-keys", "list")
    assert (done.exit_code, "DATABASE_URL" in done.stderr) == (3, True)


def test_nothing_is_made_for_a_tenant_that_is_not_there(run: Run) -> None:
    nobody = ("--tenant", "01900000-0000-7000-8000-00000000dead")
    for asked in (("token",), ("api-keys", "list"), ("api-keys", "revoke", "ia_live_abcdefghijkl", "--yes")):
        done = run(*asked, *nobody)
        assert (done.exit_code, done.stdout) == (1, ""), asked
        assert "no such tenant" in done.stderr
    assert run("token", "--tenant", str(DEFAULT_TENANT)).stdout.startswith("iadev_")
