"""Webhooks of the simulated WhatsApp, as pywa reads them: signed over Meta's escapes, in batches, without names."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pywa.types import MessageStatusType, MessageType
from pywa.types.base_update import BaseUpdate
from pywa_async import WhatsApp
from pywa_async.types import CallbackButton, CallbackSelection, Message, MessageStatus

from tests.servers import WHATSAPP, ReceivedWebhook, Simulators, WebhookReceiver
from tests.simulators.clients import ANA_WHATSAPP, BIA_USER_ID, UNKNOWN_WHATSAPP, post_to_meta, template_message

PATH = "/webhooks/whatsapp"


Read = Callable[[ReceivedWebhook], Awaitable[list[BaseUpdate]]]


@pytest.fixture
def read(meta: WhatsApp) -> Read:
    """What pywa makes of a webhook, having verified it."""
    found: list[BaseUpdate] = []

    async def keep(client: WhatsApp, update: BaseUpdate) -> None:
        found.append(update)

    for listen in (meta.on_message, meta.on_message_status, meta.on_callback_button, meta.on_callback_selection):
        register: Callable[[Any], Any] = listen()
        register(keep)

    async def read(webhook: ReceivedWebhook) -> list[BaseUpdate]:
        found.clear()
        signature = webhook.headers["X-Hub-Signature-256"]
        assert await meta.webhook_update_validator(webhook.body, signature) is None
        assert await meta.webhook_update_validator(webhook.body + b" ", signature) is not None
        assert await meta.webhook_update_handler(webhook.body) == ("ok", 200)
        return list(found)

    return read


async def statuses(receiver: WebhookReceiver, count: int) -> list[dict[str, Any]]:
    """The reports that came, each in a webhook of its own."""
    return [webhook.value["statuses"][0] for webhook in await receiver.wait_for(PATH, count)]


async def test_a_message_is_sent_and_delivered_and_pywa_reads_it(
    meta: WhatsApp, receiver: WebhookReceiver, read: Read
) -> None:
    sent = await meta.send_message(to=ANA_WHATSAPP, text="Olá", tracker="ref-1")
    first, second = await receiver.wait_for(PATH, 2)
    [report] = await read(first)
    assert isinstance(report, MessageStatus)
    assert (report.id, report.status, report.tracker) == (sent.id, MessageStatusType.SENT, "ref-1")
    assert (report.from_user.wa_id, report.from_user.name) == (ANA_WHATSAPP, "Ana")
    assert report.metadata.phone_number_id == WHATSAPP["WHATSAPP_PHONE_NUMBER_ID"]
    assert report.pricing is not None
    assert (report.pricing.billable, report.pricing.category) == (False, "service")
    [report] = await read(second)
    assert isinstance(report, MessageStatus)
    assert report.status == MessageStatusType.DELIVERED


async def test_letters_and_slashes_are_escaped_as_meta_escapes_them(
    simulators: Simulators, meta: WhatsApp, receiver: WebhookReceiver, read: Read
) -> None:
    words = "Olá 🙂 https://example.com/a?b=ç"
    await simulators.control.inbound("whatsapp", sender=ANA_WHATSAPP, text=words)
    [webhook] = await receiver.wait_for(PATH, 1)
    assert rb"Ol\u00e1 \ud83d\ude42 https:\/\/example.com\/a?b=\u00e7" in webhook.body
    [message] = await read(webhook)
    assert isinstance(message, Message)
    assert message.text == words
    again = json.dumps(json.loads(webhook.body), separators=(",", ":")).encode()
    # A verification of one's own code by one's own code proves nothing.
    assert await meta.webhook_update_validator(again, webhook.headers["X-Hub-Signature-256"]) is not None


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("5511900000001", ["sent"]),
        ("5511900000002", ["sent", "read"]),
        ("5511900000003", ["sent", "delivered", "read"]),
        ("5511901310260", ["failed"]),
        ("5511901310262", ["sent", "failed", "delivered"]),
        ("5511900000005", ["sent", "delivered"]),
    ],
)
async def test_a_fixed_recipient_has_a_fixed_outcome(
    simulators: Simulators, receiver: WebhookReceiver, to: str, words: list[str]
) -> None:
    await simulators.control.plan_webhooks("whatsapp", delays=[0.01])
    wamid = (await post_to_meta(simulators, {"to": to, **template_message()})).json()["messages"][0]["id"]
    found = await statuses(receiver, len(words))
    assert [status["status"] for status in found] == words
    assert (await simulators.control.message("whatsapp", wamid))["history"] == ["accepted", *words]
    codes = [status["errors"][0]["code"] for status in found if status["status"] == "failed"]
    assert codes == [131026] * words.count("failed")


async def test_recipients_read_what_arrives_if_the_conditions_say_so(
    simulators: Simulators, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("whatsapp", delays=[0.01])
    await simulators.control.act("whatsapp", "conditions", reads=True, delivers=False)
    await post_to_meta(simulators)
    assert [status["status"] for status in await statuses(receiver, 2)] == ["sent", "read"]


async def test_a_text_outside_the_window_is_accepted_and_fails_later(
    simulators: Simulators, receiver: WebhookReceiver
) -> None:
    assert (await post_to_meta(simulators, {"to": UNKNOWN_WHATSAPP})).status_code == 200
    [failed] = await statuses(receiver, 1)
    assert (failed["status"], failed["errors"][0]["code"]) == ("failed", 131047)
    assert "contacts" not in receiver.received[0].value
    await post_to_meta(simulators, {"to": UNKNOWN_WHATSAPP, **template_message()})
    assert [status["status"] for status in await statuses(receiver, 3)] == ["failed", "sent", "delivered"]


async def test_a_window_is_opened_by_a_message_and_closes_after_a_day(
    simulators: Simulators, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("whatsapp", delays=[0.01])
    await simulators.control.inbound("whatsapp", sender="+553187654321", text="Oi")
    await receiver.wait_for(PATH, 1)
    await simulators.control.advance("whatsapp", 86_390)
    await post_to_meta(simulators, {"to": "5531987654321"})
    await receiver.wait_for(PATH, 3)
    await simulators.control.advance("whatsapp", 20)
    await post_to_meta(simulators, {"to": "5531987654321"})
    webhooks = await receiver.wait_for(PATH, 4)
    words = [webhook.value["statuses"][0]["status"] for webhook in webhooks[1:]]
    assert words == ["sent", "delivered", "failed"]
    written, failed = webhooks[0].value["messages"][0], webhooks[3].value["statuses"][0]
    assert int(failed["timestamp"]) - int(written["timestamp"]) >= 86_400


async def test_a_user_with_a_user_name_shows_no_number_unless_it_was_used(
    simulators: Simulators, meta: WhatsApp, receiver: WebhookReceiver, read: Read
) -> None:
    await meta.send_message(to=BIA_USER_ID, text="Oi, Bia")
    first = (await receiver.wait_for(PATH, 2))[0]
    status = first.value["statuses"][0]
    assert ("recipient_id" in status, status["recipient_user_id"]) == (False, BIA_USER_ID)
    assert first.value["contacts"] == [{"profile": {"name": "Bia", "username": "bia.souza"}, "user_id": BIA_USER_ID}]
    await simulators.control.inbound("whatsapp", sender=BIA_USER_ID, text="Oi")
    written = (await receiver.wait_for(PATH, 3))[2]
    assert "from" not in written.value["messages"][0]
    [message] = await read(written)
    assert isinstance(message, Message)
    assert (message.from_user.wa_id, message.from_user.bsuid, message.text) == (None, BIA_USER_ID, "Oi")
    await meta.send_message(to="5511900000004", text="Oi, Bia")
    assert (await receiver.wait_for(PATH, 5))[4].value["statuses"][0]["recipient_id"] == "5511900000004"
    await simulators.control.advance("whatsapp", 31 * 86_400)
    await simulators.control.inbound("whatsapp", sender=BIA_USER_ID, text="Oi")
    assert "from" not in (await receiver.wait_for(PATH, 6))[5].value["messages"][0]


async def test_several_reports_can_travel_in_one_webhook(simulators: Simulators, receiver: WebhookReceiver) -> None:
    await simulators.control.plan_webhooks("whatsapp", delays=[0.01])
    await simulators.control.act("whatsapp", "conditions", batch=4)
    for to in (ANA_WHATSAPP, "5511900000003"):
        await post_to_meta(simulators, {"to": to, **template_message()})
    [webhook] = await receiver.wait_for(PATH, 1)
    assert len(webhook.value["statuses"]) == 4
    assert len(webhook.value["contacts"]) == 2
    # What has not filled a webhook goes out when it no longer has to.
    await simulators.control.act("whatsapp", "conditions", batch=1)
    assert len((await receiver.wait_for(PATH, 2))[1].value["statuses"]) == 1


async def test_a_report_can_be_ordered_with_its_code(
    simulators: Simulators, meta: WhatsApp, receiver: WebhookReceiver
) -> None:
    await simulators.control.plan_webhooks("whatsapp", automatic=False)
    sent = await meta.send_message(to=ANA_WHATSAPP, text="Oi")
    for status, code in (("delivered", None), ("read", None), ("failed", 131049)):
        await simulators.control.report("whatsapp", sent.id, status, code)
    found = await statuses(receiver, 3)
    assert [status["status"] for status in found] == ["delivered", "read", "failed"]
    assert found[2]["errors"][0]["code"] == 131049


@pytest.mark.parametrize(
    ("order", "kind", "content"),
    [
        ({"kind": "image", "text": "O comprovante"}, MessageType.IMAGE, "O comprovante"),
        ({"kind": "document", "text": "A nota"}, MessageType.DOCUMENT, "A nota"),
        ({"kind": "audio"}, MessageType.AUDIO, None),
        ({"kind": "location"}, MessageType.LOCATION, None),
        ({"kind": "sticker"}, MessageType.STICKER, None),
        ({"kind": "reaction", "text": "👍", "reply_to": "wamid.X"}, MessageType.REACTION, None),
        ({"kind": "unsupported"}, MessageType.UNSUPPORTED, None),
    ],
)
async def test_pywa_reads_messages_of_every_kind(
    simulators: Simulators,
    receiver: WebhookReceiver,
    read: Read,
    order: dict[str, str],
    kind: MessageType,
    content: str | None,
) -> None:
    await simulators.control.inbound("whatsapp", sender=ANA_WHATSAPP, **order)
    [webhook] = await receiver.wait_for(PATH, 1)
    [message] = await read(webhook)
    assert isinstance(message, Message)
    assert (message.type, message.caption) == (kind, content)


async def test_pywa_reads_what_was_tapped(
    simulators: Simulators, meta: WhatsApp, receiver: WebhookReceiver, read: Read
) -> None:
    sent = await meta.send_message(to=ANA_WHATSAPP, text="Confirma?")
    await receiver.wait_for(PATH, 2)
    for order in (
        {"kind": "button", "text": "Confirmar"},
        {"kind": "interactive", "text": "sim"},
        {
            "kind": "interactive",
            "content": {"type": "list_reply", "list_reply": {"id": "manha", "title": "Manhã", "description": ""}},
        },
    ):
        await simulators.control.inbound("whatsapp", sender=ANA_WHATSAPP, reply_to=sent.id, **order)
    webhooks = (await receiver.wait_for(PATH, 5))[2:]
    found = sorted([(await read(webhook))[0] for webhook in webhooks], key=lambda update: update.data)
    assert [(type(update), update.data, update.reply_to_message.id) for update in found] == [
        (CallbackButton, "Confirmar", sent.id),
        (CallbackSelection, "manha", sent.id),
        (CallbackButton, "sim", sent.id),
    ]


async def test_any_webhook_can_be_sent_signed(simulators: Simulators, receiver: WebhookReceiver, read: Read) -> None:
    value = {"event": "PAUSED", "message_template_name": "spring_offer"}
    await simulators.control.act("whatsapp", "webhook", field="message_template_status_update", value=value)
    [webhook] = await receiver.wait_for(PATH, 1)
    assert (webhook.value, json.loads(webhook.body)["entry"][0]["changes"][0]["field"]) == (
        value,
        "message_template_status_update",
    )
    await read(webhook)


async def test_the_handshake_is_made_and_its_token_not_written_down(simulators: Simulators) -> None:
    shaken = await simulators.control.act("whatsapp", "handshake")
    assert (shaken["status"], shaken["is_verified"]) == (200, True)
    refused = await simulators.control.act("whatsapp", "handshake", verify_token="another")
    assert (refused["status"], refused["is_verified"]) == (403, False)
    entries = await simulators.control.journal(simulator="whatsapp", direction="webhook")
    assert [(entry["method"], entry["status"]) for entry in entries] == [("GET", 200), ("GET", 403)]
    assert WHATSAPP["WHATSAPP_WEBHOOK_VERIFY_TOKEN"] not in str(entries)
