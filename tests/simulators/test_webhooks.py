"""Delivery of a provider's webhooks: late, twice, reversed, held back, lost, and repeated."""

from twilio.rest import Client

from tests.helpers import until
from tests.servers import Simulators, WebhookReceiver
from tests.simulators.clients import is_signed_by_twilio, send_sms


async def test_each_webhook_can_come_twice_byte_for_byte(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", copies=2, delays=[0.01])
    await send_sms(twilio, status_callback=f"{receiver.base}/twice")
    webhooks = await receiver.wait_for("/twice", 4)
    assert [webhook.status for webhook in webhooks] == ["sent", "sent", "delivered", "delivered"]
    tokens = [webhook.headers["I-Twilio-Idempotency-Token"] for webhook in webhooks]
    assert tokens[0] == tokens[1] != tokens[2]


async def test_webhooks_can_come_in_the_wrong_order(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", reversed=True, delays=[0.01])
    await send_sms(twilio, status_callback=f"{receiver.base}/reversed")
    webhooks = await receiver.wait_for("/reversed", 2)
    assert [webhook.status for webhook in webhooks] == ["delivered", "sent"]
    assert all(is_signed_by_twilio(webhook) for webhook in webhooks)


async def test_webhooks_can_be_held_back_until_they_are_released(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", hold=True, delays=[0.01])
    message = await send_sms(twilio, status_callback=f"{receiver.base}/held")
    await until(lambda: simulators.control.state("twilio"), lambda state: state["held"] == 2)
    assert receiver.about("/held") == []
    assert (await simulators.control.message("twilio", message.sid))["status"] == "delivered"
    assert await simulators.control.release("twilio") == 2
    assert [webhook.status for webhook in await receiver.wait_for("/held", 2)] == ["sent", "delivered"]


async def test_webhooks_can_be_late(simulators: Simulators, twilio: Client, receiver: WebhookReceiver) -> None:
    await simulators.control.plan_webhooks("twilio", delays=[0.01, 30])
    await send_sms(twilio, status_callback=f"{receiver.base}/late")
    assert [webhook.status for webhook in await receiver.wait_for("/late", 1)] == ["sent"]


async def test_a_lost_webhook_can_be_delivered_again(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", drop=True, delays=[0.01])
    message = await send_sms(twilio, status_callback=f"{receiver.base}/dropped")
    dropped = await until(
        lambda: simulators.control.journal(verdict="dropped", message_id=message.sid), lambda found: len(found) == 2
    )
    assert receiver.about("/dropped") == []
    await simulators.control.redeliver("twilio", str(dropped[1]["webhook_id"]))
    webhook = receiver.about("/dropped")[0]
    assert webhook.status == "delivered"
    assert is_signed_by_twilio(webhook)
    delivered = await simulators.control.journal(direction="webhook", verdict="delivered")
    assert [entry["status"] for entry in delivered] == [204]
    assert delivered[0]["headers"]["X-Twilio-Signature"] == webhook.headers["X-Twilio-Signature"]


async def test_an_unreachable_address_is_tried_once_more(simulators: Simulators, twilio: Client) -> None:
    await simulators.control.plan_webhooks("twilio", delays=[0.01])
    # Port 1 of loopback listens nowhere.
    await send_sms(twilio, to="+5511900000001", status_callback="http://127.0.0.1:1/nobody")
    attempts = await until(lambda: simulators.control.journal(verdict="unreached"), lambda found: len(found) == 2)
    assert [entry["attempt"] for entry in attempts] == [1, 2]


async def test_a_plan_is_forgotten_at_reset(simulators: Simulators) -> None:
    usual = (await simulators.control.state("twilio"))["webhooks"]
    await simulators.control.plan_webhooks("twilio", copies=5)
    await simulators.control.reset("twilio")
    assert (await simulators.control.state("twilio"))["webhooks"] == usual


async def test_a_callback_is_called_as_often_as_its_address_asks(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    receiver.answers = [503, 429, 204]
    message = await send_sms(twilio, status_callback=f"{receiver.base}/again?ref=1#rc=5&rp=all")
    await simulators.control.report("twilio", message.sid, "sent")
    tried = await receiver.wait_for("/again", 3)
    assert {webhook.url for webhook in tried} == {f"{receiver.base}/again?ref=1"}
    assert len({webhook.headers["I-Twilio-Idempotency-Token"] for webhook in tried}) == 1
    assert all(is_signed_by_twilio(webhook) for webhook in tried)
    entries = await simulators.control.journal(simulator="twilio", message_id=message.sid, direction="webhook")
    assert [(entry["attempt"], entry["status"]) for entry in entries] == [(1, 503), (2, 429), (3, 204)]


async def test_by_itself_twilio_does_not_call_again_after_an_answer(
    simulators: Simulators, twilio: Client, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("twilio", automatic=False)
    receiver.answers = [503]
    for fragment in ("", "#rc=5", "#rp=4xx&rc=5"):
        receiver.answers = [503]
        message = await send_sms(twilio, status_callback=f"{receiver.base}/once{fragment}")
        await simulators.control.report("twilio", message.sid, "sent")
        await until(
            lambda sid=message.sid: simulators.control.journal(message_id=sid, direction="webhook"),
            lambda entries: [entry["status"] for entry in entries] == [503],
        )
    await simulators.control.report("twilio", message.sid, "delivered")
    assert [webhook.status for webhook in await receiver.wait_for("/once", 4)] == ["sent"] * 3 + ["delivered"]
