"""Every integration folder: inactive until it is configured, complete once it connects, and ready for `make dev`."""

import io
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from itertools import pairwise

import pytest
from dotenv import dotenv_values

from core.settings import IntegrationSettings, State, describe, load
from integrations.registry import all_integrations
from tests.contract.providers import CONNECTABLE, PROVIDERS, card_of, connect_provider

ALL = list(all_integrations())
ADDRESS = re.compile(r"^# ([A-Z_]+)=$", re.MULTILINE)


def example(name: str) -> str:
    return files(f"integrations.{name}").joinpath("example.env").read_text(encoding="utf-8")


def filled(name: str) -> Mapping[str, str]:
    """The example with a simulator's address where `interalpha dev` would put it."""
    values = {key: text for key, text in dotenv_values(stream=io.StringIO(example(name))).items() if text}
    for variable in ADDRESS.findall(example(name)):
        values[variable] = "127.0.0.1" if variable.endswith("_HOST") else "http://127.0.0.1:9"
        if variable.endswith("_PORT"):
            values[variable] = "2525"
    return values


def test_every_connectable_integration_is_covered_by_the_contract_tests() -> None:
    assert sorted(CONNECTABLE) == sorted(PROVIDERS)


@pytest.mark.parametrize("name", ALL)
def test_it_is_quiet_while_nothing_of_it_is_set(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load(card_of(name).settings, {"PATH": "/bin", "APP_ENV": "production"})
    assert (loaded.state, loaded.value, loaded.problems) == (State.ABSENT, None, ())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ALL)
def test_it_introduces_itself(name: str) -> None:
    card = card_of(name)
    assert card.name == name
    assert card.title
    assert card.docs.startswith("https://")
    assert issubclass(card.settings, IntegrationSettings)


@pytest.mark.parametrize("name", ALL)
def test_its_example_is_a_whole_configuration_that_stays_on_this_machine(name: str) -> None:
    loaded = load(card_of(name).settings, filled(name))
    assert loaded.value is not None, loaded.problems
    assert loaded.value.is_simulated()


@pytest.mark.parametrize("name", ALL)
def test_its_example_names_only_what_is_read_and_says_what_it_is(name: str) -> None:
    known = {
        spelling for variable in describe(card_of(name).settings) for spelling in (variable.name, *variable.aliases)
    }
    assert filled(name).keys() <= known
    lines = example(name).splitlines()
    assert lines[0].startswith("# Dummy values for the simulator.")
    # A comment above each value explains it.
    assert [line for above, line in pairwise(lines) if "#" not in (above[:1], line[:1])] == []


@pytest.mark.parametrize("name", CONNECTABLE)
def test_the_card_states_name_and_settings_and_the_folder_keeps_provider_fixtures(name: str) -> None:
    folder = files(f"integrations.{name}")
    readme = folder.joinpath("README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {card_of(name).title}")
    missing = [variable.name for variable in describe(card_of(name).settings) if variable.name not in readme]
    assert missing == []
    assert [one for one in folder.joinpath("fixtures").iterdir() if one.is_file()]
    assert find_spec(f"integrations.{name}.simulator") is not None


@pytest.mark.parametrize("name", CONNECTABLE)
async def test_it_offers_what_its_card_declares_and_makes_no_call_on_its_own(name: str) -> None:
    card, connected = card_of(name), connect_provider(name)
    assert (connected.sender is not None) is bool(card.channels)
    assert (connected.webhooks is not None) is card.has_webhooks
    assert connected.probe is not None
    assert bool(connected.own_addresses) is bool(card.channels)
    await connected.close()
