"""What commands print about servers that are unreachable, older, newer, or no Interalpha, with the right status."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner

from api.cli import interalpha as program
from tests.servers import free_port

KEY = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
COMMANDS = (
    ("send", "sms", "+5511987654321", "x"),
    ("messages", "list"),
    ("messages", "show", "x"),
    ("messages", "cancel", "x"),
    ("batch", "show", "x"),
    ("templates", "list"),
    ("listen",),
    ("replay", "x", "--yes"),
    ("replay", "--failed", "--yes"),
    ("dead-letters", "list"),
    ("dead-letters", "discard", "x", "--yes"),
    ("webhooks", "list"),
    ("webhooks", "show", "x"),
    ("webhooks", "replay", "x"),
    ("providers", "list"),
    ("erase", "+5511987654321", "--yes"),
)
Answer = Callable[[dict[str, Any]], tuple[int, str, dict[str, str]]]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server on this machine that answers every question in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, body, headers = answer(asked)
            self.send_response(status)
            for name, value in {"content-length": str(len(body.encode())), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}"
    finally:
        listening.shutdown()
        listening.server_close()


def error(code: str, message: str, **more: Any) -> str:
    return json.dumps({"errors": [{"message": message, "extensions": {"code": code, **more}}]})


@pytest.fixture(autouse=True)
def _new_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("APP_ENV", "PORT", "INTERALPHA_HOME", "INTERALPHA_API_KEY", "INTERALPHA_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENCRYPTION_KEYS", KEY)


def told(address: str, command: tuple[str, ...], status: int = 1) -> str:
    """What a command says on stderr; it ends with a status, prints nothing and breaks nowhere."""
    result = CliRunner().invoke(program, [*command, "--url", address])
    assert result.exception is None or isinstance(result.exception, SystemExit), (command, result.exception)
    assert (result.exit_code, result.stdout) == (status, ""), (command, result.stderr)
    return result.stderr


def test_no_server_is_said_to_be_none() -> None:
    for command in COMMANDS:
        assert "Nothing answers at" in told(f"http://127.0.0.1:{free_port()}", command)


def test_a_server_of_another_version_is_said_to_be_one() -> None:
    answers = (
        error("VALIDATION", "Cannot query field 'cursor' on type 'Message'."),
        error("VARIABLES", "Variable '$filter' got invalid value: Field 'to' is not defined by type 'MessageFilter'."),
    )
    for body in answers:
        with server(lambda asked, body=body: (400, body, {})) as address:
            for command in COMMANDS:
                assert "version differs from this command line's" in told(address, command), command


def test_what_is_no_interalpha_is_said_to_be_none() -> None:
    for status, body in ((502, "<html>Bad Gateway</html>"), (200, "[]"), (200, "null"), (200, "{}"), (404, "")):
        with server(lambda asked, status=status, body=body: (status, body, {})) as address:
            for command in COMMANDS:
                assert f"answers with status {status} and no" in told(address, command), (command, body)


def test_a_missing_scope_is_reported_with_advice() -> None:
    body = error("FORBIDDEN", "This needs MESSAGES_READ.", advice="Ask for a key with it.")
    with server(lambda asked: (200, body, {})) as address:
        for command in COMMANDS:
            assert "This needs MESSAGES_READ. (FORBIDDEN) Ask for a key with it." in told(address, command), command


def test_a_list_waits_until_it_may_ask_for_more() -> None:
    pages = iter(
        [
            (429, error("QUOTA_EXCEEDED", "This costs 100 points and 0 are left."), {"retry-after": "1"}),
            (
                200,
                json.dumps(
                    {"data": {"templates": {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}}}
                ),
                {},
            ),
        ]
    )
    with server(lambda asked: next(pages)) as address:
        assert "Going on in 1 s." in told(address, ("templates", "list"), 0)


def test_unknown_enum_values_of_a_newer_server_are_shown_unchanged() -> None:
    integration = {
        "kind": "VONAGE",
        "name": "Vonage",
        "configuration": {"state": "COMPLETE", "mode": "SHADOW", "problems": []},
        "circuit": {"state": "MELTED", "consecutiveFailures": 0, "openedAt": None, "retryAt": None},
    }
    with server(lambda asked: (200, json.dumps({"data": {"integrations": [integration]}}), {})) as address:
        result = CliRunner().invoke(program, ["providers", "list", "--url", address])
    assert result.exit_code == 0
    assert "vonage           shadow          circuit melted" in result.stdout


def test_an_unreadable_message_is_still_shown() -> None:
    message = {
        "id": "M1",
        "direction": "OUTBOUND",
        "status": "SENT",
        "channel": "SMS",
        "toMasked": "+55 11 9••••-4321",
        **dict.fromkeys(("fromMasked", "sendAt", "nextAttemptAt", "nextLookAt", "failure", "content", "erasedAt")),
        "canRetry": False,
        "attempts": [],
        "events": {"nodes": [], "pageInfo": {"hasPreviousPage": False}},
    }
    left_out = {
        "message": "It is sealed under k1.",
        "path": ["message", "content"],
        "extensions": {"code": "VALUE_UNREADABLE"},
    }
    body = json.dumps({"data": {"message": message}, "errors": [left_out]})
    with server(lambda asked: (200, body, {})) as address:
        result = CliRunner().invoke(program, ["messages", "show", "M1", "--url", address])
    assert result.exit_code == 0, result.stderr
    assert "sms → +55 11 9••••-4321" in result.stdout
    assert " Says   cannot be read here: its key is not among" in result.stdout
