"""No number, address or content is in logs, metrics or lists of the command line, checked on one whole delivery."""

import json
import re
from pathlib import Path

import httpx
import pytest

from core.masking import decoded_parts
from tests.cli.processes import Dev, Run, wait_until

NUMBER, SHOWN = "+5511987650123", "+55 11 9••••-0123"
CLOSED = "+5511987650129"
MAIL = "maria.quitanda@example.com"
WORDS, ANSWER = "jabuticaba", "pitangueira"
NEEDLES = ("87650123", "8765-0123", "87650129", "maria.quitanda", WORDS, ANSWER)


def traces(text: str) -> set[str]:
    """What of it is in a text, as it is or in base64."""
    parts = (text.lower(), *(part.lower() for part in decoded_parts(text)))
    return {needle for needle in NEEDLES for part in parts if needle in part}


@pytest.fixture
def said() -> list[str]:
    """Everything commands have printed meanwhile."""
    printed: list[str] = []
    return printed


def test_a_road_over_every_channel_leaves_no_trace_of_whom_and_what(dev: Dev, run: Run, said: list[str]) -> None:
    def told(*arguments: str) -> str:
        done = run(*arguments)
        said.append(f"{arguments[0]} {arguments[1] if len(arguments) > 1 else ''}: {done.stdout} {done.stderr}")
        return str(done.stdout)

    def listed() -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(told("messages", "list", "--json", "--limit", "100"))
        return [one for one in found if one["toMasked"] in (SHOWN, "m••@example.com")]

    told("trigger", "whatsapp.inbound", "--from", NUMBER, "--text", ANSWER)
    told("trigger", "sms.inbound", "--from", NUMBER, "--text", ANSWER)
    wait_until(lambda: len(json.loads(told("webhooks", "list", "--json"))) >= 2)
    told("send", "sms", NUMBER, WORDS)
    told("send", "whatsapp", NUMBER, WORDS)
    told("send", "email", MAIL, f"{WORDS} por e-mail", "--subject", WORDS)
    # No message came from there: the provider refuses free text, and says so in its own words.
    told("send", "whatsapp", CLOSED, WORDS)
    told("send", "sms", f"{NUMBER}99", WORDS)
    for one in listed():
        told("messages", "show", one["id"])
        told("messages", "show", one["id"], "--json")
        told("messages", "cancel", one["id"])
    for webhook in json.loads(told("webhooks", "list", "--json", "--limit", "100")):
        told("webhooks", "show", webhook["id"])
        told("webhooks", "show", webhook["id"], "--json")
    for command in (("messages", "list"), ("webhooks", "list"), ("dead-letters", "list"), ("providers", "list")):
        told(*command)
    assert len(listed()) >= 3, "the road was not travelled"
    assert SHOWN in said[-1]
    # A refused message is quoted to its author.
    printed = [
        text
        for text in said
        if "is not a telephone number" not in text and "is not a valid telephone number" not in text
    ]
    # What a message says is shown where one message is shown, and nowhere else.
    shown = {text: {WORDS, ANSWER} if text.startswith("messages show:") else set() for text in printed}
    assert {text[:40]: found for text, may in shown.items() if (found := traces(text) - may)} == {}
    assert {path.name: found for path in logs(dev) if (found := traces(path.read_text()))} == {}
    assert traces(dev.said) == set()
    assert traces(metrics(dev, run)) == set()


def test_erasing_from_the_command_line_says_no_more_than_the_mask(dev: Dev, run: Run) -> None:
    number = "+5511987650777"
    run("send", "sms", number, WORDS)
    done = run("erase", number, "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["messages"], bool(told["finishedAt"])) == (1, True)
    again = run("erase", number, "--yes")
    assert re.search(r"✓ Erased from 0 messages .* and 0 ids and keys named after them\.", again.stdout)
    assert "87650777" not in done.stdout + done.stderr + again.stdout + again.stderr
    assert "••••" in run("messages", "list", "--limit", "1").stdout
    refused = run("erase", "nobody", "--yes")
    assert refused.exit_code == 1
    assert "telephone number with its country code" in refused.stderr


def logs(dev: Dev) -> list[Path]:
    found = [path for path in dev.folder.rglob("*.log") if path.is_file()]
    assert {"api.log", "worker.log"} <= {path.name for path in found}
    return found


def metrics(dev: Dev, run: Run) -> str:
    token = run("token").stdout.strip()
    answer = httpx.get(f"http://127.0.0.1:{dev.port}/metrics", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    return answer.text
