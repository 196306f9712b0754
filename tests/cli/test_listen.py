"""`interalpha listen`: events as they happen, forwarded on request, across restarts, until Ctrl-C."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.cli.processes import (
    PROGRAM,
    Dev,
    Run,
    cli_environment,
    processes_of,
    run_interalpha,
    started_process,
    wait_until,
)
from tests.servers import free_port


class Listening:
    """A running `interalpha listen`: what it has said so far, and how it ends."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._said = {"out": b"", "notices": b""}
        assert process.stdout is not None
        assert process.stderr is not None
        self._pipes = {"out": process.stdout, "notices": process.stderr}
        for pipe in self._pipes.values():
            os.set_blocking(pipe.fileno(), False)

    def _read(self, name: str) -> str:
        self._said[name] += self._pipes[name].read() or b""
        return self._said[name].decode()

    @property
    def out(self) -> str:
        return self._read("out")

    @property
    def notices(self) -> str:
        return self._read("notices")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def ends_on(self, number: signal.Signals) -> int:
        self._process.send_signal(number)
        return self._process.wait(timeout=10)


@contextmanager
def listening(dev: Dev, *arguments: str) -> Iterator[Listening]:
    pipe = subprocess.PIPE
    with started_process(
        [PROGRAM, "listen", *arguments], env=cli_environment(dev.folder), stdout=pipe, stderr=pipe
    ) as process:
        found = Listening(process)
        wait_until(lambda: "Listening." in found.notices)
        yield found


class Hook:
    """A program on this machine that receives events, and answers as it likes."""

    def __init__(self, status: int = 204) -> None:
        self.bodies: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(status)
                self.send_header("location", "http://example.com/")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self.server.server_port}/hook?key=1"

    def __enter__(self) -> "Hook":
        Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def send(run: Run, *arguments: str) -> str:
    done = run("send", *arguments, "--json")
    return str(json.loads(done.stdout)["message"]["id"])


def test_it_prints_what_happens_and_ctrl_c_ends_it_well(dev: Dev, run: Run) -> None:
    with listening(dev) as found:
        message_id = send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: any("delivered" in line and message_id in line for line in found.out.splitlines()))
        assert "sending" not in found.out
        assert "98765-4321" not in found.out
        assert found.ends_on(signal.SIGINT) == 0
        first, last = found.notices.splitlines()
        assert first == "Listening. Ctrl-C ends it."
        assert re.fullmatch(r"Go on from here: interalpha listen --after [\w-]+", last)


def test_each_event_is_one_line_of_json(dev: Dev, run: Run) -> None:
    with listening(dev, "--json") as found:
        message_id = send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: any(one["event"]["status"] == "DELIVERED" for one in found.events))
        last = [one for one in found.events if one["message"]["id"] == message_id][-1]
        assert last["message"]["channel"] == "SMS"
        assert last["previousStatus"] == "SENT"


def test_channel_and_status_choose(dev: Dev, run: Run) -> None:
    with listening(dev, "--json", "--channel", "sms", "--channel", "whatsapp", "--status", "delivered") as found:
        send(run, "email", "ana@example.com", "x")
        ids = [send(run, "sms", "+5511987654321", "x"), send(run, "whatsapp", "+5511987654321", "x")]
        wait_until(lambda: len(found.events) >= 2)
        assert [(one["message"]["id"], one["event"]["status"]) for one in found.events] == [
            (one, "DELIVERED") for one in ids
        ]


def test_direction_and_batch_choose(dev: Dev, run: Run) -> None:
    with listening(dev, "--json", "--direction", "inbound") as found:
        send(run, "sms", "+5511987654321", "x")
        run("trigger", "sms.inbound", "--from", "+5561991110011", "--text", "Oi")
        wait_until(lambda: len(found.events) >= 1)
        assert {one["message"]["direction"] for one in found.events} == {"INBOUND"}


def test_it_goes_on_behind_the_cursor_it_was_given(dev: Dev, run: Run) -> None:
    with listening(dev, "--json", "--status", "delivered") as found:
        first = send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: len(found.events) == 1)
        cursor = found.events[0]["cursor"]
    missed = [send(run, "sms", "+5511987654321", text) for text in "yz"]
    with listening(dev, "--json", "--status", "delivered", "--after", cursor) as found:
        wait_until(lambda: len(found.events) == 2)
        later = send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: len(found.events) == 3)
        assert [one["message"]["id"] for one in found.events] == [*missed, later]
        assert first not in missed


def test_what_it_cannot_follow_is_said_at_once(dev: Dev) -> None:
    for arguments, words in (
        (("--after", "nonsense"), "`after` is not a cursor of this list. (INVALID_INPUT)"),
        (("--batch", "nonsense"), "There is no such batch. (NOT_FOUND)"),
    ):
        done = run_interalpha(dev.folder, "listen", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"✗ {words}" in done.stderr
    assert "Listening" not in done.stderr


def test_events_are_handed_to_a_program_on_this_machine(dev: Dev, run: Run) -> None:
    with Hook() as hook, listening(dev, "--json", "--forward-to", hook.url) as found:
        send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: any(one["event"]["status"] == "DELIVERED" for one in hook.bodies))
        wait_until(lambda: found.notices.count("→ POST /hook 204") == len(hook.bodies))
        assert hook.bodies == found.events


@pytest.mark.parametrize("status", [302, 500])
def test_a_program_that_refuses_ends_nothing_and_leads_nowhere_else(dev: Dev, run: Run, status: int) -> None:
    with Hook(status) as hook, listening(dev, "--forward-to", hook.url, "--status", "delivered") as found:
        send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: f"! POST /hook {status}" in found.notices)
        assert "delivered" in found.out
        assert len(hook.bodies) == 1


def test_a_program_that_is_not_there_ends_nothing(dev: Dev, run: Run) -> None:
    with listening(dev, "--forward-to", f"http://127.0.0.1:{free_port()}/hook") as found:
        message_id = send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: "! POST /hook failed" in found.notices)
        wait_until(lambda: any("delivered" in line and message_id in line for line in found.out.splitlines()))


@pytest.mark.parametrize(
    "target",
    ["http://example.com/hook", "http://localhost@example.com/", "ftp://localhost/", "localhost:3000", "http://"],
)
def test_events_do_not_leave_this_machine(run: Run, target: str) -> None:
    done = run("listen", "--forward-to", target)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--forward-to" in done.stderr


def test_it_outlives_a_server_that_dies(dev: Dev, run: Run) -> None:
    with listening(dev) as found:
        [server] = processes_of(f"devkit.child api {dev.folder}")
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: "Asking again until it is back." in found.notices)
        wait_until(lambda: "✓ The server is back." in found.notices, 30)
        assert found.notices.count("Asking again") == 1
        message_id = send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: any("delivered" in line and message_id in line for line in found.out.splitlines()))
        assert found.ends_on(signal.SIGINT) == 0


def test_what_happened_while_the_server_was_away_follows_once(dev: Dev, run: Run) -> None:
    with listening(dev, "--json") as found:
        send(run, "sms", "+5511987654321", "x")
        wait_until(lambda: any(one["event"]["status"] == "DELIVERED" for one in found.events))
        [server] = processes_of(f"devkit.child api {dev.folder}")
        message_id = send(run, "sms", "+5511987654321", "y", "--in", "1m", "--no-wait")
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: "What happened meanwhile follows." in found.notices, 30)
        run("messages", "cancel", message_id)
        told = lambda: [one["event"] for one in found.events if one["message"]["id"] == message_id]  # noqa: E731
        wait_until(lambda: [one["status"] for one in told()][-1:] == ["CANCELED"])
        assert [one["status"] for one in told()] == ["SCHEDULED", "CANCELED"]
        events = [one["event"]["id"] for one in found.events]
        assert len(events) == len(set(events))


def test_it_ends_at_once_where_no_server_ever_was(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("dev:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    done = run_interalpha(tmp_path, "listen", "--url", f"http://localhost:{free_port()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing answers" in done.stderr


def test_a_server_with_other_keys_is_not_asked_again(dev: Dev, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("dev:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    done = run_interalpha(tmp_path, "listen", "--url", f"http://localhost:{dev.port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "keeps others" in done.stderr
