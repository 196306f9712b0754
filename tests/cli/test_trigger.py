"""`interalpha trigger`: a simulated provider sends an event, and its effect is shown at once."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import Dev, Run, run_interalpha, running_dev, wait_until

RECEIVED = re.compile(r"POST /webhooks/\w+ 204 \d+ ms\n")


def send(run: Run, *arguments: str) -> dict[str, str]:
    done = run("send", *arguments, "--json")
    message: dict[str, str] = json.loads(done.stdout)["message"]
    return message


def listed(run: Run, *arguments: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(run("messages", "list", "--json", *arguments).stdout)
    return found


def test_the_list_names_each_event_with_a_sentence_and_its_options(run: Run) -> None:
    done = run("trigger", "--list")
    assert done.exit_code == 0, done.stderr
    for event in ("sms.inbound", "sms.delivered", "whatsapp.inbound", "whatsapp.read", "whatsapp.template_paused"):
        assert re.search(rf"^{re.escape(event)} +[A-Z].*\.$", done.stdout, re.MULTILINE), event
    assert "--from --text" in done.stdout
    offers = json.loads(run("trigger", "--list", "--json").stdout)
    assert {"name", "words", "parameters", "company"} <= offers[0].keys()


@pytest.mark.parametrize(("channel", "sender"), [("sms", "+55 11 91234-0001"), ("whatsapp", "+55 11 91234-0002")])
def test_a_customer_writes_and_the_message_is_here(run: Run, channel: str, sender: str) -> None:
    done = run("trigger", f"{channel}.inbound", "--from", sender, "--text", "- Já saiu?")
    assert done.exit_code == 0, done.stderr
    assert RECEIVED.fullmatch(done.stdout)
    assert "interalpha messages list" in done.stderr
    wait_until(lambda: bool([one for one in listed(run, "--channel", channel) if one["direction"] == "INBOUND"]))
    assert f"+55 11 9••••-{sender[-4:]}" in run("messages", "list", "--channel", channel).stdout


def test_what_concerns_no_message_leads_to_the_webhooks(run: Run) -> None:
    done = run("trigger", "clerk.user")
    assert (done.exit_code, done.stderr) == (0, "Next: interalpha webhooks list\n")


def test_a_report_concerns_the_message_named_by_our_id(run: Run) -> None:
    message, newest = send(run, "whatsapp", "+5511987654321", "x"), send(run, "whatsapp", "+5511987654321", "y")
    done = run("trigger", "whatsapp.read", "--message", message["id"])
    assert done.exit_code == 0, done.stderr
    assert f"interalpha messages show {message['id']}" in done.stderr
    read = {"id": message["id"], "status": "READ"}
    wait_until(lambda: read.items() <= json.loads(run("messages", "show", message["id"], "--json").stdout).items())
    assert json.loads(run("messages", "show", newest["id"], "--json").stdout)["status"] == "DELIVERED"


def test_a_report_concerns_the_newest_message_or_the_one_with_the_given_provider_id(run: Run) -> None:
    first, second = (
        send(run, "sms", "+5511900000001", "x", "--no-wait"),
        send(run, "sms", "+5511900000001", "y", "--no-wait"),
    )

    def shown(message: dict[str, str]) -> dict[str, object]:
        return dict(json.loads(run("messages", "show", message["id"], "--json").stdout))

    wait_until(lambda: shown(first)["status"] == shown(second)["status"] == "SENT")
    assert run("trigger", "sms.failed", "--code", "30005").exit_code == 0
    wait_until(lambda: shown(second)["status"] == "FAILED")
    assert shown(second)["failure"]["providerCode"] == "30005"  # type: ignore[index]
    [attempt] = shown(first)["attempts"]  # type: ignore[misc]
    done = run("trigger", "sms.delivered", "--message", attempt["providerMessageId"])
    assert done.exit_code == 0
    assert "messages list" in done.stderr
    wait_until(lambda: shown(first)["status"] == "DELIVERED")


def test_the_answer_can_be_json(run: Run) -> None:
    told = json.loads(run("trigger", "whatsapp.inbound", "--with", "kind=image", "--json").stdout)
    assert (told["status"], told["detail"]) == (204, None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sms.inbond"], "Did you mean sms.inbound"),
        (["sms.delivered", "--text", "x"], "sms.delivered takes no --text; it takes --message"),
        (["sms.inbound", "--with", "colour=red"], "sms.inbound takes no colour"),
        (["sms.inbound", "--from", "Ana"], "--from: write a number"),
        (["sms.failed", "--code", "7"], "--code: give a number from 10000 on."),
        (["sms.delivered", "--message", "SM0"], "twilio does not know the message SM0"),
    ],
)
def test_what_makes_no_sense_is_refused_and_says_what_does(run: Run, arguments: list[str], words: str) -> None:
    done = run("trigger", *arguments)
    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert words in done.stderr


@pytest.mark.slow
def test_without_dev_in_production_and_with_everything_real_it_says_so(tmp_path: Path) -> None:
    done = run_interalpha(tmp_path, "trigger", "sms.inbound")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"`interalpha dev` is not running in {tmp_path}" in done.stderr
    production = run_interalpha(tmp_path, "trigger", "sms.inbound", APP_ENV="production")
    assert (production.returncode, production.stdout) == (3, "")
    assert "APP_ENV is production" in production.stderr
    (tmp_path / "dev.env").write_text("PORT='9'\nENCRYPTION_KEYS='dev:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='\n")
    real = run_interalpha(tmp_path, "trigger", "sms.inbound")
    assert (real.returncode, real.stdout) == (3, "")
    assert "none is simulated" in real.stderr


def test_a_dev_that_was_killed_is_not_running(dev: Dev, tmp_path: Path) -> None:
    """Its note of where everything is was left behind."""
    left = tmp_path / "left"
    left.mkdir()
    told = (dev.folder / "dev.env").read_text()
    (left / "dev.env").write_text(re.sub(r"^PORT=.*$", "PORT='9'", told, flags=re.MULTILINE))
    done = run_interalpha(left, "trigger", "--list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "make dev" in done.stderr


@pytest.mark.slow
def test_a_live_provider_is_left_alone(tmp_path: Path) -> None:
    account = {
        "TWILIO_ACCOUNT_SID": "AC" + "5" * 32,
        "TWILIO_AUTH_TOKEN": "5" * 32,
        "TWILIO_PHONE_NUMBER": "+15005550006",
    }
    with running_dev(tmp_path / "data", **account) as real:
        done = run_interalpha(real.folder, "trigger", "sms.inbound", **account)
        assert (done.returncode, done.stdout) == (3, "")
        assert "twilio is not simulated here" in done.stderr
        offered = run_interalpha(real.folder, "trigger", "--list", **account).stdout
    assert "whatsapp.inbound" in offered
    assert "sms." not in offered


@pytest.fixture
def run_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Commands beside a `dev` of their own: some events change what the simulators hold for every other test."""
    with running_dev(tmp_path / "data") as own:
        monkeypatch.setenv("INTERALPHA_HOME", str(own.folder))
        yield run


def test_any_option_value_gets_a_plain_answer(run_alone: Run) -> None:
    """No pattern, no name of a type, no traceback: what is wrong with which option, in words; and status 2."""
    run = run_alone
    offers = json.loads(run("trigger", "--list", "--json").stdout)
    flags = {"sender": "--from", "text": "--text", "message": "--message", "code": "--code"}
    seen = 0
    for offer in offers:
        for name in offer["parameters"]:
            for value in ("12", "x" * 5_000, "\u2603", "-1", "a\nb", ""):
                option = [flags[name], value] if name in flags else ["--with", f"{name}={value}"]
                done = run("trigger", offer["name"], *option)
                told = done.stderr
                assert not re.search(r"pattern|regex|\^|\[0-9|should |Input|Traceback|validation", told), (option, told)
                assert done.exit_code in (0, 1, 2), option
                if done.exit_code == 2:
                    seen += 1
                    assert re.match(r"✗ --(from|text|message|code|with \w+=…): ", told), (option, told)
    assert seen > 30
    refused = run("trigger", "sms.inbound", "--from", "12")
    words = "✗ --from: write a number of 3 to 15 digits, like +55 11 98765-4321.\n"
    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", words)
