"""What `interalpha dev` prints once it is ready: commands that can be pasted, and none that texts an unknown number."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from api.cli.terminal import clock
from api.configuration import load_configuration
from devkit.banner import banner
from devkit.embedded.stores import StoreUrls
from devkit.home import Home
from devkit.supervisor import DevOptions, RunningStack

LIVE = {
    "TWILIO_ACCOUNT_SID": "AC" + "1" * 32,
    "TWILIO_AUTH_TOKEN": "2" * 32,
    "TWILIO_PHONE_NUMBER": "+15005550006",
}


def said(folder: str = ".interalpha", **environment: str) -> str:
    order = DevOptions(environment, load_configuration(environment), Home(Path(folder)), 8000, forget=False)
    settings = {"PUBLIC_BASE_URL": "http://127.0.0.1:8000", **environment}
    stores = StoreUrls("app", "worker", "direct", "redis", "18.1", "Redis 7.0.15")
    simulated = () if "TWILIO_ACCOUNT_SID" in environment else ("twilio", "smtp")
    return "\n".join(line.plain for line in banner(order, RunningStack(settings, stores, "0001", simulated, "", 1.0)))


def test_the_commands_name_a_folder_that_is_not_the_usual_one() -> None:
    assert "kept until `interalpha reset`" in said()
    assert "kept until `interalpha reset --data '/tmp/a b'`" in said("/tmp/a b")
    assert "INTERALPHA_HOME='/tmp/a b'" in said("/tmp/a b")


def test_simulated_providers_can_be_tried_with_any_number() -> None:
    assert 'send sms "+55 11 98765-4321"' in said()
    assert "cost money" not in said()


def test_a_live_provider_is_not_tried_with_an_unknown_number() -> None:
    words = said(**LIVE)
    assert 'send sms "<your own number>"' in words
    assert "98765" not in words
    assert "twilio is live: messages are real and cost money" in words


@pytest.mark.parametrize(("address", "arrives"), [("http://localhost:8000", False), ("https://api.example.com", True)])
def test_reports_that_cannot_arrive_are_said_not_to(address: str, arrives: bool) -> None:
    assert ("PUBLIC_BASE_URL" not in said(**LIVE, PUBLIC_BASE_URL=address)) is arrives
    assert said(**LIVE, PUBLIC_BASE_URL=address).count("PUBLIC_BASE_URL") <= 1


def test_a_moment_of_another_day_shows_its_day_and_zone() -> None:
    now = datetime.now().astimezone()
    assert clock(now.isoformat(), millis=False) == f"{now:%H:%M:%S}"
    before = now - timedelta(days=2)
    assert clock(before.isoformat(), millis=False) == before.astimezone().isoformat(" ", "seconds")
