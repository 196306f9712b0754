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


@pytest.mark.parametrize("trouble", FailureMode)
@pytest.mark.parametrize("name", SENDING)
async def test_each_failure_has_its_error_type_and_a_time_limit(
    name: str, trouble: FailureMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    company = PROVIDERS[name]
    company.hurry(monkeypatch)
    async with company.facing(trouble) as changes:
        connected = connect_provider(name, **changes)
        assert connected.sender is not None
        assert company.message is not None
        with pytest.raises(ProviderError) as caught:
            await connected.sender.send(company.message)
        await connected.close()
    assert type(caught.value) in MEANING[trouble]
    assert caught.value.provider == name
    assert caught.value.message
    if trouble in ANSWERED:
        assert caught.value.answer
        assert len(caught.value.answer) <= 500
    if trouble in (FailureMode.SILENT, FailureMode.AWAY):
        assert caught.value.answer is None


@pytest.mark.parametrize("name", SENDING)
async def test_the_answer_of_a_provider_is_kept_for_an_accepted_message(name: str, simulators: Simulators) -> None:
    company = PROVIDERS[name]
    connected = connect_provider(name, **company.simulated(simulators))
    assert connected.sender is not None
    receipt = await connected.sender.send(company.message)
    await connected.close()
    assert receipt.provider_message_id
    assert receipt.answer
    assert receipt.answer.startswith("2")
    assert len(receipt.answer) <= 500
    assert company.message.to.lstrip("+") not in receipt.answer
