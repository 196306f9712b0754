"""Control of the simulated WhatsApp: inbound messages, conditions, the clock, its state."""

from datetime import datetime
from typing import Any

import pytest

from integrations.simulating.client import SimulatorRefused
from tests.servers import Simulators, WebhookReceiver
from tests.simulators.clients import ANA_WHATSAPP, UNKNOWN_WHATSAPP, post_to_meta, template_message


async def test_what_arrived_is_listed_in_both_directions(simulators: Simulators) -> None:
    await post_to_meta(simulators, {"to": UNKNOWN_WHATSAPP, **template_message()})
    await simulators.control.inbound("whatsapp", sender=f"+{UNKNOWN_WHATSAPP}", text="Sim", name="Davi")
    sent, written = await simulators.control.messages("whatsapp")
    assert (sent["direction"], sent["kind"], sent["text"]) == (
        "outbound",
        "template",
        "Olá, Ana! Sua consulta é 24/11. Podemos confirmar?",
    )
    assert (written["direction"], written["from"], written["text"]) == ("inbound", f"+{UNKNOWN_WHATSAPP}", "Sim")
    assert await simulators.control.messages("whatsapp", to=f"+{UNKNOWN_WHATSAPP}") == [sent]
    state = await simulators.control.state("whatsapp")
    [davi] = [one for one in state["customers"] if one["number"] == f"+{UNKNOWN_WHATSAPP}"]
    assert (davi["profile"]["name"], davi["window_is_open"]) == ("Davi", True)


async def test_the_clock_moves_windows_and_is_set_right_at_reset(simulators: Simulators) -> None:
    before = await simulators.control.state("whatsapp")
    await simulators.control.advance("whatsapp", 86_401)
    after = await simulators.control.state("whatsapp")
    passed = datetime.fromisoformat(after["now"]) - datetime.fromisoformat(before["now"])
    assert 86_401 <= passed.total_seconds() < 86_461
    assert [one["window_is_open"] for one in before["customers"]] == [True, True]
    assert [one["window_is_open"] for one in after["customers"]] == [False, False]
    await simulators.control.reset("whatsapp")
    again = await simulators.control.state("whatsapp")
    assert [one["window_is_open"] for one in again["customers"]] == [True, True]


async def test_its_memory_can_be_taken_elsewhere_and_back(simulators: Simulators, receiver: WebhookReceiver) -> None:
    await simulators.control.inbound("whatsapp", sender="+553187654321", text="Oi", username="caio.dias")
    await simulators.control.act("whatsapp", "conditions", quality="RED")
    await simulators.control.act("whatsapp", "template", name="order_shipped", language="en_US", status="PAUSED")
    await simulators.control.advance("whatsapp", 3_600)
    await post_to_meta(simulators)
    await receiver.wait_for("/webhooks/whatsapp", 3)
    memory = await simulators.control.export_memory("whatsapp")
    before = await simulators.control.state("whatsapp")
    messages = await simulators.control.messages("whatsapp")
    await simulators.control.reset()
    assert await simulators.control.messages("whatsapp") == []
    await simulators.control.import_memory("whatsapp", memory)
    after = await simulators.control.state("whatsapp")
    assert await simulators.control.messages("whatsapp") == messages
    assert {**after, "now": None} == {**before, "now": None}
    assert await simulators.control.export_memory("whatsapp") == memory
    assert "EAAtoken" not in str(memory)


@pytest.mark.parametrize(
    ("action", "order", "field"),
    [
        ("conditions", {"token": "lost"}, "token"),
        ("conditions", {"batch": 0}, "batch"),
        ("conditions", {"weather": "fine"}, "weather"),
        ("template", {"name": "unheard_of", "status": "PAUSED"}, "name"),
        ("template", {"name": "hello_world", "language": "fr", "status": "PAUSED"}, "name"),
        ("template", {"name": "hello_world", "status": "LOVELY"}, "status"),
        ("webhook", {}, "value"),
    ],
)
async def test_an_action_that_makes_no_sense_is_refused(
    simulators: Simulators, action: str, order: dict[str, Any], field: str
) -> None:
    with pytest.raises(SimulatorRefused) as caught:
        await simulators.control.act("whatsapp", action, **order)
    assert (caught.value.status, caught.value.field) == (400, field)


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"sender": "Ana", "text": "x"}, "sender"),
        ({"sender": ANA_WHATSAPP, "text": "x", "recipient": "1"}, "recipient"),
        ({"sender": ANA_WHATSAPP, "kind": "A kind"}, "kind"),
        ({"sender": ANA_WHATSAPP, "text": "x" * 4097}, "text"),
    ],
)
async def test_an_inbound_message_that_cannot_be_is_refused(
    simulators: Simulators, order: dict[str, Any], field: str
) -> None:
    with pytest.raises(SimulatorRefused) as caught:
        await simulators.control.inbound("whatsapp", **order)
    assert (caught.value.status, caught.value.field) == (400, field)


async def test_reports_are_about_messages_that_were_sent(simulators: Simulators) -> None:
    written = await simulators.control.inbound("whatsapp", sender=ANA_WHATSAPP, text="Oi")
    for message_id in ("wamid.unknown", written["id"]):
        with pytest.raises(SimulatorRefused):
            await simulators.control.report("whatsapp", message_id, "delivered")


async def test_an_unsupported_action_is_refused_with_a_reason(simulators: Simulators) -> None:
    with pytest.raises(SimulatorRefused) as caught:
        await simulators.control.act("twilio", "handshake")
    assert caught.value.status == 404
    with pytest.raises(SimulatorRefused):
        await simulators.control.advance("whatsapp", -1)
