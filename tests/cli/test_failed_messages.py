"""What an operator does in a terminal about failed messages and webhooks."""

import json
import re

from tests.cli.processes import Run, wait_until

SUSPENDED = "+5511900030002"
"""For this number the simulator says that our account is suspended: only an operator can fix that."""


def failed(run: Run) -> str:
    """The id of a message that failed for a reason of ours."""
    done = run("send", "sms", SUSPENDED, "x", "--json")
    assert done.exit_code == 1
    message: dict[str, str] = json.loads(done.stdout)["message"]
    return message["id"]


def letters(run: Run, *options: str) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = json.loads(run("dead-letters", "list", "--json", *options).stdout)
    return listed


def letter_of(run: Run, message: str) -> str:
    [one] = [one for one in letters(run) if one["subject"]["id"] == message]  # type: ignore[index]
    return one["id"]


def attempts(run: Run, message: str) -> int:
    return len(json.loads(run("messages", "show", message, "--json").stdout)["attempts"])


def test_a_history_says_why_a_message_failed_and_what_to_do(run: Run) -> None:
    message = failed(run)
    story = run("messages", "show", message).stdout
    assert re.search(r"^ Why    The account is suspended\. .*interalpha check --probe", story, re.MULTILINE)
    again = f"interalpha replay {message}   after its cause is fixed"
    assert f" Next   {again}, or interalpha dead-letters discard {letter_of(run, message)}\n" in story


def test_a_failed_message_is_tried_again_by_its_id_and_fails_visibly_again(run: Run) -> None:
    message = failed(run)
    first = letter_of(run, message)
    done = run("replay", message, "--yes")
    assert (done.exit_code, done.stdout) == (0, f"✓ queued again  {first}\n")
    wait_until(lambda: message in [one["subject"]["id"] for one in letters(run)])  # type: ignore[index]
    assert (attempts(run, message), letter_of(run, message) != first) == (2, True)


def test_everything_of_the_last_hour_is_tried_again(run: Run) -> None:
    message = failed(run)
    first = letter_of(run, message)
    assert run("replay", "--failed", "--channel", "email", "--yes").exit_code == 0
    assert letter_of(run, message) == first
    done = run("replay", "--failed", "--since", "1h", "--channel", "sms", "--yes", "--json")
    assert done.exit_code == 0, done.stderr
    assert {"id": first, "done": True, "error": None} in json.loads(done.stdout)


def test_without_a_confirmation_nothing_is_retried(run: Run) -> None:
    message = failed(run)
    for arguments in (["replay", message], ["dead-letters", "requeue", "x"], ["dead-letters", "discard", "x"]):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert "--yes" in done.stderr
    assert attempts(run, message) == 1


def test_each_id_is_answered_and_a_refused_one_is_status_1(run: Run) -> None:
    letter = letter_of(run, failed(run))
    done = run("dead-letters", "discard", letter, "nonsense", "--yes")
    assert done.exit_code == 1
    assert done.stdout == f"✓ discarded  {letter}\n✗ nonsense  There is no such dead letter.\n"
    assert letter in [one["id"] for one in letters(run, "--resolved")]
    again = run("dead-letters", "requeue", letter, "--yes")
    assert (again.exit_code, "already discarded" in again.stdout) == (1, True)


def test_what_did_not_fail_is_not_sent_again(run: Run) -> None:
    message = json.loads(run("send", "sms", "+5511987654321", "x", "--json").stdout)["message"]["id"]
    done = run("replay", message, "nonsense", "--yes")
    assert done.exit_code == 1
    assert [line[0] for line in done.stdout.splitlines()] == ["✗", "✗"]
    assert attempts(run, message) == 1


def test_webhooks_are_listed_shown_without_anybodys_number_and_replayed(run: Run) -> None:
    message = json.loads(run("send", "sms", "+5511987654321", "x", "--json").stdout)["message"]["id"]
    listed = run("webhooks", "list", "--message", message, "--status", "processed").stdout.splitlines()
    assert [line.split()[2] for line in listed] == ["delivered", "sent"]
    webhook = listed[0].split()[-1]
    shown = run("webhooks", "show", webhook).stdout
    assert f" Moved  {message}" in shown
    assert '"MessageStatus": "delivered"' in shown
    assert "987654321" not in shown
    done = run("webhooks", "replay", webhook, "nonsense")
    assert (done.exit_code, done.stdout) == (
        1,
        f"✓ queued again  {webhook}\n✗ nonsense  There is no such webhook.\n",
    )
    as_json = ("webhooks", "show", webhook, "--json")
    wait_until(lambda: json.loads(run(*as_json).stdout)["status"] == "PROCESSED")
    assert json.loads(run("messages", "show", message, "--json").stdout)["status"] == "DELIVERED"
