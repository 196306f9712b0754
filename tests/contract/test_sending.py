"""Failures: for every failure of a provider, the error says who must act and whether a retry may send twice."""

import pytest

from core.errors import (
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from tests.contract.providers import PROVIDERS, SENDING, FailureMode, connect_provider
from tests.servers import Simulators

MEANING: dict[FailureMode, tuple[type[ProviderError], ...]] = {
    FailureMode.REFUSED: (ProviderRejected,),
    FailureMode.MISCONFIGURED: (ProviderMisconfigured,),
    FailureMode.LATER: (ProviderUnavailable,),
    FailureMode.LOST: (OutcomeUnknown,),
    # Who was never greeted has surely taken nothing.
    FailureMode.SILENT: (OutcomeUnknown, ProviderUnavailable),
    FailureMode.AWAY: (ProviderUnavailable,),
}
ANSWERED = (FailureMode.REFUSED, FailureMode.MISCONFIGURED, FailureMode.LATER)


@pytest.mark.parametrize("failure_mode", FailureMode)
@pytest.mark.parametrize("name", SENDING)
async def test_each_failure_has_its_error_type_and_a_time_limit(
    name: str, failure_mode: FailureMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = PROVIDERS[name]
    provider.hurry(monkeypatch)
    async with provider.facing(failure_mode) as changes:
        connected = connect_provider(name, **changes)
        assert connected.sender is not None
        assert provider.message is not None
        with pytest.raises(ProviderError) as caught:
            await connected.sender.send(provider.message)
        await connected.close()
    assert type(caught.value) in MEANING[failure_mode]
    assert caught.value.provider == name
    assert caught.value.message
    if failure_mode in ANSWERED:
        assert caught.value.answer
        assert len(caught.value.answer) <= 500
    if failure_mode in (FailureMode.SILENT, FailureMode.AWAY):
        assert caught.value.answer is None


@pytest.mark.parametrize("name", SENDING)
async def test_the_answer_of_a_provider_is_kept_for_an_accepted_message(name: str, simulators: Simulators) -> None:
    provider = PROVIDERS[name]
    connected = connect_provider(name, **provider.simulated(simulators))
    assert connected.sender is not None
    receipt = await connected.sender.send(provider.message)
    await connected.close()
    assert receipt.provider_message_id
    assert receipt.answer
    assert receipt.answer.startswith("2")
    assert len(receipt.answer) <= 500
    assert provider.message.to.lstrip("+") not in receipt.answer
