"""Sending, finding, canceling and listing messages in a terminal."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from api.cli.trigger import simulators_address
from tests.cli.processes import PROGRAM, WORKING_FOLDER, Dev, Run, cli_environment, wait_until

ANA = "+5511987654321"


def sent(run: Run, *arguments: str) -> str:
    done = run("send", *arguments, "--no-wait", "--json")
    assert done.exit_code == 0, done.stderr
    return str(json.loads(done.stdout)["message"]["id"])


def listed(run: Run, *arguments: str) -> list[str]:
    done = run("messages", "list", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return [one["id"] for one in json.loads(done.stdout)]


def show(run: Run, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("messages", "show", id, "--json").stdout)
    return found


def test_a_message_is_found_by_whom_it_went_to_and_by_the_senders_own_id(run: Run) -> None:
    first, mail = sent(run, "sms", "+5561991110001", "x"), sent(run, "email", "Rui@example.com", "x")
    second = sent(run, "sms", "+5561991110001", "x", "--external-id", "pedido-ção-1")
    for spelling in ("+55 (61) 99111-0001", "+556191110001"):
        assert listed(run, "--to", spelling) == [second, first]
    assert listed(run, "--to", "rui@EXAMPLE.com") == [mail]
    assert listed(run, "--external-id", "pedido-ção-1") == [second]
    assert listed(run, "--to", "+5561991110001", "--since", "1h", "--channel", "sms", "--direction", "outbound") == [
        second,
        first,
    ]
    assert listed(run, "--to", "+5561991110001", "--until", "2026-01-01") == []
    assert "pedido-ção-1" in run("messages", "list", "--external-id", "pedido-ção-1").stdout
    run("trigger", "sms.inbound", "--from", "+55 61 99111-0001", "--text", "Oi")
    wait_until(lambda: len(listed(run, "--from", "+5561991110001")) == 1)
    [reply] = listed(run, "--direction", "inbound", "--from", "+5561991110001")
    assert " Says   Oi\n" in run("messages", "show", reply).stdout


def test_a_message_waits_for_its_hour_until_it_is_stopped(run: Run) -> None:
    done = run("send", "sms", ANA, "x", "--in", "2h", "--expires-in", "1d", "--external-id", "late-1")
    assert (done.exit_code, "✓ scheduled" in done.stdout) == (0, True)
    [id] = listed(run, "--external-id", "late-1", "--status", "scheduled")
    stopped = run("messages", "cancel", id)
    assert (stopped.exit_code, stopped.stdout) == (0, f"✓ canceled  {id}\n")
    assert listed(run, "--external-id", "late-1", "--status", "canceled") == [id]
    late = run("send", "sms", ANA, "x", "--in", "99999d")
    assert (late.exit_code, "at most 366 days ahead" in late.stderr) == (1, True)
    refused = run("messages", "cancel", "x", sent(run, "sms", "+5561991110002", "x"), "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)[0] == {"id": "x", "done": False, "error": "There is no such message."}
    moment = run("send", "sms", ANA, "x", "--at", "2020-01-01")
    assert (moment.exit_code, "input.schedule.at" in moment.stderr) == (1, True)


def test_an_unconfirmed_message_is_settled_by_hand(run: Run) -> None:
    with _answers_lost("settled@example.com"):
        ids = [sent(run, "email", "settled@example.com", "x", "--subject", "x") for _ in range(2)]
        wait_until(lambda: [show(run, id)["status"] for id in ids] == ["UNCONFIRMED"] * 2)
    unsure = run("messages", "settle", ids[0], "--as", "sent")
    assert (unsure.exit_code, unsure.stdout) == (1, "")
    assert (
        "If the provider did not accept it, it never arrives. Settle it? There is no terminal to ask" in unsure.stderr
    )
    for _ in range(2):
        done = run("messages", "settle", ids[0], "--as", "SENT", "--yes")
        assert (done.exit_code, done.stdout) == (0, f"✓ sent  {ids[0]}\n")
    refused = run("messages", "settle", ids[0], "--as", "failed", "--yes", "--json")
    assert refused.exit_code == 1
    [told] = json.loads(refused.stdout)
    assert (told["id"], told["done"], "SENT" in told["error"]) == (ids[0], False, True)
    again = run("messages", "settle", ids[1], "--as", "resend", "--yes", "--json")
    assert json.loads(again.stdout) == [{"id": ids[1], "done": True, "error": None}]
    wait_until(lambda: show(run, ids[1])["status"] == "SENT")
    assert len(show(run, ids[1])["attempts"]) == 2
    unknown = run("messages", "settle", "nonsense", "--as", "sent", "--yes")
    assert (unknown.exit_code, unknown.stdout) == (1, "✗ nonsense  There is no such message.\n")
    assert run("messages", "settle", ids[1], "--as", "read", "--yes").exit_code == 2


@contextmanager
def _answers_lost(recipient: str) -> Iterator[None]:
    """The mail server accepts a mail, and its answer is lost."""
    faults = f"{simulators_address()}/sim/api/smtp/faults"
    order = {"kind": "reset", "always": True, "accepted": True, "to": recipient}
    kind = {"Content-Type": "application/json"}
    urlopen(Request(faults, json.dumps(order).encode(), kind), timeout=5).close()
    yield
    urlopen(Request(faults, method="DELETE"), timeout=5).close()


def test_a_batch_is_stopped(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("to;text\n" + "".join(f"+55 61 99333-000{number};x\n" for number in range(3)))
    made = run("batch", "send", str(file), "--channel", "sms", "--in", "2h", "--json")
    [batch] = json.loads(made.stdout)["batches"]
    unsure = run("batch", "cancel", batch["id"])
    assert (unsure.exit_code, "add --yes" in unsure.stderr) == (1, True)
    for _ in range(2):
        done = run("batch", "cancel", batch["id"], "--yes")
        assert (done.exit_code, done.stdout) == (0, f"3 canceled, too late for 0  {batch['id']}\n")
    told = json.loads(run("batch", "cancel", batch["id"], "--yes", "--json").stdout)
    assert told == {"id": batch["id"], "canceled": 3, "tooLate": 0}
    assert len(listed(run, "--batch", batch["id"], "--status", "canceled")) == 3
    refused = run("batch", "cancel", "nonsense", "--yes")
    assert (refused.exit_code, refused.stdout, "There is no such batch." in refused.stderr) == (1, "", True)


def test_a_route_is_chosen(run: Run) -> None:
    id = sent(run, "whatsapp", "+5561991110003", "x", "--route", "whatsapp:30m,sms")
    # Free text does not reach a person who has not written.
    wait_until(lambda: show(run, id)["status"] == "DELIVERED")
    assert [one["channel"] for one in show(run, id)["attempts"]] == ["WHATSAPP", "SMS"]
    rehearsed = run("send", "sms", "+5561991110004", "x", "--dry-run", "--quiet-hours")
    assert (rehearsed.exit_code, rehearsed.stdout) == (0, "✓ It would be accepted. Nothing was sent.\n")
    assert listed(run, "--to", "+5561991110004") == []


def test_a_file_is_sent_once_and_its_bad_lines_are_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    good = "".join(f"+55 61 9922{number:05}"[:16] + ";Olá, você\n" for number in range(130))
    file.write_text("\ufeffto;text\n" + good + "+55 11 8765-4321;x\n", encoding="utf-8")
    rehearsed = run("batch", "send", str(file), "--channel", "sms", "--batch", "aviso", "--dry-run")
    assert (rehearsed.exit_code, "130 of 131 would be accepted" in rehearsed.stdout) == (1, True)
    done = run("batch", "send", str(file), "--channel", "sms", "--batch", "aviso")
    assert (done.exit_code, "✓ 130 of 131 accepted" in done.stdout) == (1, True)
    assert re.search(r"^✗ line 132  to\.phone: .*\+5511987654321\?$", done.stderr, re.MULTILINE)
    again = json.loads(run("batch", "send", str(file), "--channel", "sms", "--batch", "aviso", "--json").stdout)
    [batch] = again["batches"]
    assert (batch["name"], batch["isReplay"]) == ("aviso", True)
    assert again["results"][-1]["line"] == 132
    assert [one["code"] for one in again["results"][-1]["errors"]] == ["PHONE_LACKS_NINTH_DIGIT"]
    told = run("batch", "show", batch["id"])
    assert (told.exit_code, "aviso" in told.stdout) == (0, True)
    _pages(run, batch["id"])


def _pages(run: Run, batch: str) -> None:
    """A list goes on beyond a page, whole or from a cursor, in the same order."""
    every = listed(run, "--batch", batch, "--all")
    assert (len(every), len(set(every))) == (130, 130)
    assert listed(run, "--batch", batch, "--limit", "1000") == every
    first = run("messages", "list", "--batch", batch, "--limit", "120")
    assert [line.split()[-1] for line in first.stdout.splitlines()] == every[:120]
    [cursor] = re.findall(r"--after (\S+),", first.stderr)
    assert listed(run, "--batch", batch, "--after", cursor) == every[120:]
    newest = json.loads(run("messages", "list", "--batch", batch, "--limit", "1", "--json").stdout)
    assert listed(run, "--batch", batch, "--after", newest[0]["cursor"], "--limit", "2") == every[1:3]


def test_a_failed_message_without_a_dead_letter_is_tried_again_by_its_id(run: Run) -> None:
    id = sent(run, "sms", "+5511900030005", "x")
    wait_until(lambda: show(run, id)["status"] == "FAILED")
    assert f"interalpha replay {id}" in run("messages", "show", id).stdout
    done = run("replay", id, "--yes")
    assert (done.exit_code, done.stdout) == (0, f"✓ queued again  {id}\n")
    wait_until(lambda: len(show(run, id)["attempts"]) == 2 and show(run, id)["status"] == "FAILED")
    arrived = sent(run, "sms", ANA, "x")
    wait_until(lambda: show(run, arrived)["status"] == "DELIVERED")
    refused = run("replay", arrived, "--yes")
    assert (refused.exit_code, refused.stdout) == (
        1,
        f"✗ {arrived}  Only failed messages can be tried again; this one is delivered.\n",
    )


def test_what_a_message_says_is_shown_and_never_steers_the_terminal(run: Run) -> None:
    id = sent(run, "email", "ana@example.com", "Olá, Ana!\nSaiu.", "--subject", "Pedido nº 1")
    assert " Says   Subject: Pedido nº 1\n        Olá, Ana!\n        Saiu.\n" in run("messages", "show", id).stdout
    run("trigger", "sms.inbound", "--from", "+55 61 99111-0009", "--text", "a\x1b]0;x\x07b\u202ec")
    wait_until(lambda: len(listed(run, "--from", "+5561991110009")) == 1)
    [evil] = listed(run, "--from", "+5561991110009")
    for options in ((), ("--json",)):
        shown = run("messages", "show", evil, *options).stdout
        assert not set("\x1b\x07\u202e") & set(shown)
    assert show(run, evil)["content"]["text"] == "a\x1b]0;x\x07b\u202ec"


def test_a_reader_that_goes_away_is_no_accident(dev: Dev) -> None:
    for options in ("", "--json"):
        script = f"{PROGRAM} messages list --all {options} | head -n 1"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=WORKING_FOLDER,
            env=cli_environment(dev.folder),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.count("\n") <= 1
        assert "Traceback" not in done.stderr
        assert "Broken pipe" not in done.stderr
