"""Faults on request, as a third-party client sees them."""

import asyncio
from email.utils import parsedate_to_datetime

import httpx
import pytest
from twilio.base.exceptions import TwilioException
from twilio.rest import Client

from integrations.simulating.client import SimulatorRefused
from tests.servers import ACCOUNT, NUMBER, TOKEN, Simulators, WebhookReceiver
from tests.simulators.clients import ANA_PHONE, refused_sms, send_sms


async def post(
    simulators: Simulators, timeout: float = 2, to: str = ANA_PHONE, callback: str | None = None
) -> httpx.Response:
    form = {"To": to, "From": NUMBER, "Body": "oi"} | ({"StatusCallback": callback} if callback else {})
    path = f"{simulators.twilio_base}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    async with httpx.AsyncClient(auth=(ACCOUNT, TOKEN), timeout=timeout, trust_env=False) as client:
        return await client.post(path, data=form)


async def taken(simulators: Simulators) -> int:
    """How many messages the provider accepted."""
    accepted = await simulators.control.journal(simulator="twilio", verdict="accepted")
    assert len(accepted) == len(await simulators.control.messages("twilio"))
    return len(accepted)


async def test_next_strikes_so_often_and_no_more(simulators: Simulators) -> None:
    await simulators.control.arm("twilio", "server_error", next=2)
    assert [(await post(simulators)).status_code for _ in range(4)] == [500, 500, 201, 201]
    assert await taken(simulators) == 2


async def test_every_strikes_each_nth_time(simulators: Simulators) -> None:
    await simulators.control.arm("twilio", "code", code="21612", every=3)
    answers = [await post(simulators) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [201, 201, 400, 201, 201, 400]
    assert answers[2].json()["code"] == 21612


async def test_always_strikes_until_it_is_disarmed(simulators: Simulators) -> None:
    fault = await simulators.control.arm("twilio", "rate_limit", always=True, retry_after=7)
    answers = [await post(simulators) for _ in range(3)]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(429, "7")] * 3
    await simulators.control.disarm("twilio", fault["id"])
    assert (await post(simulators)).status_code == 201


async def test_retry_after_can_be_a_date(simulators: Simulators) -> None:
    await simulators.control.arm("twilio", "rate_limit", next=1, retry_after=60, retry_after_as="date")
    assert parsedate_to_datetime((await post(simulators)).headers["Retry-After"]).tzinfo is not None


async def test_the_sdk_sees_the_code(simulators: Simulators, twilio: Client) -> None:
    await simulators.control.arm("twilio", "rate_limit", next=1)
    error = await refused_sms(twilio)
    assert (error.status, error.code) == (429, 20429)


async def test_a_fault_can_concern_one_recipient_or_one_question(simulators: Simulators, twilio: Client) -> None:
    await simulators.control.arm("twilio", "server_error", always=True, to=ANA_PHONE)
    await simulators.control.arm("twilio", "server_error", next=1, at="list")
    assert (await post(simulators, to="+5511987650000")).status_code == 201
    assert (await post(simulators)).status_code == 500
    with pytest.raises(TwilioException):
        await asyncio.to_thread(twilio.messages.list)
    assert len(await asyncio.to_thread(twilio.messages.list)) == 1


async def test_a_timeout_before_acceptance_leaves_nothing(simulators: Simulators) -> None:
    await simulators.control.arm("twilio", "timeout", next=1)
    with pytest.raises(httpx.ReadTimeout):
        await post(simulators, timeout=0.2)
    assert await taken(simulators) == 0


async def test_a_timeout_after_acceptance_leaves_a_message_and_its_reports(
    simulators: Simulators, receiver: WebhookReceiver
) -> None:
    await simulators.control.arm("twilio", "timeout", next=1, accepted=True)
    with pytest.raises(httpx.ReadTimeout):
        await post(simulators, timeout=0.2, callback=f"{receiver.base}/lost")
    assert await taken(simulators) == 1
    assert [webhook.status for webhook in await receiver.wait_for("/lost", 2)] == ["sent", "delivered"]
    assert (await simulators.control.journal(verdict="accepted"))[0]["fault"] == "timeout"


@pytest.mark.parametrize(("accepted", "status"), [(False, 503), (True, 201)])
async def test_a_late_answer_comes_after_its_time(simulators: Simulators, accepted: bool, status: int) -> None:
    await simulators.control.arm("twilio", "timeout", next=1, seconds=0.1, accepted=accepted)
    assert (await post(simulators)).status_code == status


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_reset_is_a_reset(simulators: Simulators, accepted: bool) -> None:
    await simulators.control.arm("twilio", "reset", next=1, accepted=accepted)
    with pytest.raises(httpx.ReadError):
        await post(simulators)
    assert await taken(simulators) == accepted


async def test_a_garbled_answer_looks_like_success(simulators: Simulators) -> None:
    await simulators.control.arm("twilio", "garbage", next=1, accepted=True)
    answer = await post(simulators)
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "text/html; charset=utf-8")
    assert await taken(simulators) == 1


async def test_slow_is_late_and_right(simulators: Simulators, twilio: Client) -> None:
    await simulators.control.arm("twilio", "slow", next=1, seconds=0.15)
    started = asyncio.get_running_loop().time()
    assert (await send_sms(twilio)).status == "queued"
    assert asyncio.get_running_loop().time() - started >= 0.15


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"kind": "flood", "next": 1}, "kind"),
        ({"kind": "reset"}, None),
        ({"kind": "reset", "next": 1, "always": True}, None),
        ({"kind": "reset", "next": 0}, "next"),
        ({"kind": "rate_limit", "next": 1, "accepted": True}, None),
        ({"kind": "code", "next": 1}, None),
        ({"kind": "code", "next": 1, "code": "x"}, "code"),
        ({"kind": "slow", "next": 1}, None),
        ({"kind": "reset", "next": 1, "at": "nowhere"}, "at"),
        ({"kind": "reset", "next": 1, "colour": "red"}, "colour"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(
    simulators: Simulators, order: dict[str, object], field: str | None
) -> None:
    with pytest.raises(SimulatorRefused) as caught:
        await simulators.control.arm("twilio", **order)  # type: ignore[arg-type]
    assert (caught.value.status, caught.value.field) == (400, field)
    assert (await simulators.control.state("twilio"))["faults"] == []
