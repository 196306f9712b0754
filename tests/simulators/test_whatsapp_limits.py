"""Limits that Meta sets, and faults on request, as a client sees them."""

import pytest
from pywa.errors import (
    MessageUndeliverable,
    RateLimitHit,
    SpamRateLimitHit,
    TooManyMessages,
    WhatsAppError,
)
from pywa_async import WhatsApp

from tests.servers import Simulators
from tests.simulators.clients import (
    ANA_WHATSAPP,
    BIA_USER_ID,
    UNKNOWN_WHATSAPP,
    error_code,
    post_to_meta,
    template_message,
)


async def test_forty_five_messages_at_once_are_enough_for_one_person(simulators: Simulators, meta: WhatsApp) -> None:
    for _ in range(45):
        await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    with pytest.raises(TooManyMessages) as caught:
        await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    assert (caught.value.code, caught.value.status_code) == (131056, 429)
    assert (await meta.send_message(to=UNKNOWN_WHATSAPP, text="Oi")).id
    await simulators.control.advance("whatsapp", 6)
    assert (await meta.send_message(to=ANA_WHATSAPP, text="Oi")).id
    with pytest.raises(TooManyMessages):
        await meta.send_message(to=ANA_WHATSAPP, text="Oi")


async def test_throughput_can_be_limited(simulators: Simulators, meta: WhatsApp) -> None:
    await simulators.control.act("whatsapp", "conditions", throughput=1)
    await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    with pytest.raises(RateLimitHit):
        await meta.send_message(to=UNKNOWN_WHATSAPP, text="Oi")
    await simulators.control.advance("whatsapp", 1)
    assert (await meta.send_message(to=UNKNOWN_WHATSAPP, text="Oi")).id


async def test_conversations_we_begin_can_be_limited(simulators: Simulators) -> None:
    await simulators.control.act("whatsapp", "conditions", messaging_limit=1)
    for _ in range(2):
        assert (await post_to_meta(simulators, {"to": UNKNOWN_WHATSAPP, **template_message()})).status_code == 200
    error = await post_to_meta(simulators, {"to": "5511987650001", **template_message()})
    assert (error.status_code, error_code(error)) == (429, 131048)
    assert WhatsAppError.from_dict(error.json()["error"]).__class__ is SpamRateLimitHit
    assert (await post_to_meta(simulators)).status_code == 200
    await simulators.control.advance("whatsapp", 86_400)
    assert (await post_to_meta(simulators, {"to": "5511987650001", **template_message()})).status_code == 200


async def test_a_recipient_can_be_there_to_be_refused(meta: WhatsApp) -> None:
    with pytest.raises(MessageUndeliverable) as caught:
        await meta.send_message(to="5511901310261", text="Oi")
    assert caught.value.code == 131026


async def test_faults_have_the_text_that_meta_uses(simulators: Simulators, meta: WhatsApp) -> None:
    await simulators.control.arm("whatsapp", "rate_limit", next=1, retry_after=7)
    with pytest.raises(RateLimitHit) as limited:
        await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    assert limited.value.raw_response is not None
    assert limited.value.raw_response.headers["retry-after"] == "7"
    await simulators.control.arm("whatsapp", "code", next=1, code="131031", at="templates")
    with pytest.raises(WhatsAppError, match="locked"):
        await meta.get_templates()
    await simulators.control.arm("whatsapp", "server_error", next=1)
    with pytest.raises(WhatsAppError) as broken:
        await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    assert (broken.value.code, broken.value.status_code) == (131000, 500)


async def test_a_fault_can_concern_one_person_however_they_are_addressed(simulators: Simulators) -> None:
    await simulators.control.arm("whatsapp", "server_error", always=True, to="+5511900000004")
    assert (await post_to_meta(simulators)).status_code == 200
    for address in ({"to": "5511900000004"}, {"to": "+55 11 90000-0004"}, {"to": None, "recipient": BIA_USER_ID}):
        assert (await post_to_meta(simulators, address)).status_code == 500
