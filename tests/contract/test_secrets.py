"""Secrets: an empty one counts as missing, and a real one is shown nowhere."""

import logging

import pytest

from core.errors import ProviderError
from core.ports import Connected, OutboundMessage
from core.settings import State, describe, load
from tests.contract.providers import CONNECTABLE, PROVIDERS, FailureMode, card_of, connect_provider, settings_of


def secrets_of(name: str) -> dict[str, str]:
    """The secrets of the account, by variable."""
    secret = {variable.name for variable in describe(card_of(name).settings) if variable.secret}
    return {variable: text for variable, text in PROVIDERS[name].settings.items() if variable in secret}


EACH_SECRET = [(name, variable) for name in CONNECTABLE for variable in secrets_of(name)]
EACH_LIST = [
    (name, one.name) for name in CONNECTABLE for one in describe(card_of(name).settings) if one.secret and one.several
]


@pytest.mark.parametrize("name", CONNECTABLE)
def test_there_are_secrets_to_guard(name: str) -> None:
    assert secrets_of(name)


BLANK = ["", "   ", "\t\n"]


def test_an_empty_secret_is_refused(subtests: pytest.Subtests) -> None:
    for nothing in BLANK:
        for name, variable in EACH_SECRET:
            with subtests.test(f"{variable}: {nothing!r}"):
                loaded = load(card_of(name).settings, {**PROVIDERS[name].settings, variable: nothing})
                assert (loaded.state, loaded.value) == (State.INCOMPLETE, None)
                assert [problem.setting for problem in loaded.problems] == [variable]


@pytest.mark.parametrize("nothing", [",", " , "])
@pytest.mark.parametrize(("name", "variable"), EACH_LIST)
def test_a_list_of_empty_secrets_is_refused(name: str, variable: str, nothing: str) -> None:
    loaded = load(card_of(name).settings, {**PROVIDERS[name].settings, variable: nothing})
    assert (loaded.state, loaded.value) == (State.INVALID, None)


@pytest.mark.parametrize("name", CONNECTABLE)
async def test_a_secret_is_in_no_text_about_it(name: str) -> None:
    settings, connected = settings_of(name), connect_provider(name)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {connected!r} {connected}"
    assert [variable for variable, text in secrets_of(name).items() if text in shown] == []
    await connected.close()


async def failure(connected: Connected, message: OutboundMessage | None) -> ProviderError | None:
    """How sending fails; None where there is nothing to send."""
    if message is None:
        return None
    assert connected.sender is not None
    with pytest.raises(ProviderError) as caught:
        await connected.sender.send(message)
    return caught.value


@pytest.mark.parametrize("failure_mode", FailureMode)
@pytest.mark.parametrize("name", CONNECTABLE)
async def test_a_secret_is_in_no_error_finding_or_log(
    name: str,
    failure_mode: FailureMode,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    PROVIDERS[name].hurry(monkeypatch)
    # Libraries whose talk is switched off in production (see api/logs.py) keep to it here, too.
    with caplog.at_level(logging.INFO):
        async with PROVIDERS[name].facing(failure_mode) as changes:
            connected = connect_provider(name, **changes)
            assert connected.probe is not None
            error = await failure(connected, PROVIDERS[name].message)
            findings = await connected.probe.check() if failure_mode is not FailureMode.SILENT else []
            await connected.close()
    shown = f"{error!r} {error} {vars(error)} {error.__cause__!r}" if error else ""
    told = f"{shown} {findings} {caplog.text} {capfd.readouterr()}"
    assert [variable for variable, text in secrets_of(name).items() if text in told] == []
