"""Logs say what happened and never contain message content."""

import json
import re
import subprocess
import sys

import pytest

from api.logs import on_one_line

_FAIL = """
from api.logs import configure_logging
import logging, structlog
configure_logging("info", as_json={as_json})
def fail(phone):
    secret = "segredo-da-ana"
    raise ValueError("no personal words here")
try:
    fail("+5511987654321")
except ValueError:
    structlog.get_logger("x").exception("it_failed", message_id="42")
    logging.getLogger("y").exception("it failed")
logging.getLogger("saq").error("job kwargs=+5511987654321")
logging.getLogger("twilio.http_client").info("To=+5511987654321")
"""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_local_variables_and_talkative_libraries_are_silent(as_json: bool) -> None:
    script = _FAIL.format(as_json=as_json)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert "it_failed" in done.stderr
    assert "no personal words here" in done.stderr
    # The source lines of a traceback are ours; the values must not be in it.
    values = done.stderr.replace('fail("+5511987654321")', "").replace('secret = "segredo-da-ana"', "")
    assert "987654321" not in values
    assert "segredo" not in values


# What a caller, a provider or a proxy may have written.
SPITEFUL = [
    "one\nERROR root two",
    "one\r\n{}",
    "\x1b[2J\x1b[31mred",
    "\x9b31m",
    '","level":"error","event":"forged',
    "\u2028line",
    "\u202egnirts",
    "\x00\x07\x08",
    "a\x0bb\x0cc\x85d",
]
_SPEAK = """
from api.logs import configure_logging
import json, logging, structlog, sys
configure_logging("debug", as_json={as_json})
for text in json.loads(sys.argv[1]):
    structlog.get_logger("x").warning("it_happened", reason=text)
    logging.getLogger("y").warning("it happened: %s", text)
"""


@pytest.mark.parametrize("as_json", [True, False])
def test_a_log_message_never_spans_two_lines(as_json: bool) -> None:
    script = _SPEAK.format(as_json=as_json)
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(SPITEFUL)], capture_output=True, timeout=30, check=True
    )
    text = done.stderr.decode()
    lines = text.splitlines()
    assert len(lines) == 2 * len(SPITEFUL)
    assert not any(character in text for character in "\x00\x07\x1b\x9b\u202e\r")
    if as_json:
        told = [json.loads(line) for line in lines]
        assert [one["reason"] for one in told[::2]] == SPITEFUL
        assert [one["event"].removeprefix("it happened: ") for one in told[1::2]] == SPITEFUL
        assert {one["level"] for one in told} == {"warning"}
    else:
        assert all("it_happened" in line for line in lines[::2])
        assert all("[warning  ] it happened: " in line for line in lines[1::2])


_EVERYBODY = """
from api.logs import configure_logging
import logging, structlog, threading, warnings
configure_logging("info", as_json={as_json})
structlog.get_logger("x").warning("ours")
for name in ("uvicorn.error", "uvicorn.access", "sqlalchemy.pool", "asyncio", "aiohttp.access", "alembic"):
    logging.getLogger(name).error("theirs: %s", name)
warnings.warn("python's own")
def fail():
    raise ValueError("nobody caught it")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
fail()
"""
_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def test_all_log_lines_have_one_form() -> None:
    for as_json in (True, False):
        script = _EVERYBODY.format(as_json=as_json)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        said = ["ours", *(f"theirs: {name}" for name in ("uvicorn.error", "uvicorn.access", "sqlalchemy.pool"))]
        said += ["theirs: asyncio", "theirs: aiohttp.access", "theirs: alembic", "python's own"]
        said += ["thread_failed", "process_failed"]
        if as_json:
            told = [json.loads(line) for line in done.stderr.splitlines()]
            assert len(told) == len(said)
            for one, words in zip(told, said, strict=True):
                assert words in one["event"]
                assert re.fullmatch(_MOMENT, one["timestamp"]), one
                assert one["level"] in ("warning", "error", "critical")
                assert ("logger" in one) is words.startswith(("theirs", "python"))
            assert told[-1]["exception"][0]["exc_value"] == "nobody caught it"
        else:
            begins = [
                line
                for line in done.stderr.splitlines()
                if re.match(rf"{_MOMENT} \[(warning|error|critical) *\] ", line)
            ]
            assert len(begins) == len(said), done.stderr
            assert all(words in line for line, words in zip(begins, said, strict=True))
            assert done.stderr.count("ValueError: nobody caught it") == 2


def test_what_people_write_stays_legible() -> None:
    assert on_one_line("Olá, João! 50 % de desconto ☃ 你好") == "Olá, João! 50 % de desconto ☃ 你好"
