"""Logs say what happened and never what people said."""

import subprocess
import sys

import pytest

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
