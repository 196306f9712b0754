"""What the simulated WhatsApp can be made to tell us, by name."""

from collections.abc import Callable, Mapping
from typing import Literal

from integrations.simulating.events import AboutOrder, Event, event
from integrations.simulating.webhooks import Webhook
from integrations.whatsapp.simulator.desk import Desk
from integrations.whatsapp.simulator.orders import FailsOrder, TemplateEventOrder, TemplateOrder, WritesOrder
from integrations.whatsapp.simulator.outcomes import Status

Judgement = Literal["APPROVED", "REJECTED", "PAUSED", "DISABLED"]


def events_of(desk: Desk) -> Mapping[str, Event]:
    """The events of one account."""

    def becomes(word: str) -> Callable[[AboutOrder], Webhook]:
        return lambda order: desk.tell(order.message, Status(word))

    def judged(status: Judgement) -> Callable[[TemplateEventOrder], Webhook]:
        return lambda order: desk.judge_template(
            TemplateOrder(name=order.template, language=order.language, status=status)
        )

    def fails(order: FailsOrder) -> Webhook:
        return desk.tell(order.message, Status("failed", order.code))

    def writes(order: WritesOrder) -> Webhook:
        return desk.write(order.as_inbound())[1]

    return {
        "whatsapp.inbound": event("Somebody writes to our number, or answers a message of ours.", WritesOrder, writes),
        "whatsapp.sent": event("A message has left Meta: one tick.", AboutOrder, becomes("sent")),
        "whatsapp.delivered": event("A message is on the telephone: two ticks.", AboutOrder, becomes("delivered")),
        "whatsapp.read": event("A message was read: two blue ticks.", AboutOrder, becomes("read")),
        "whatsapp.failed": event("A message could not be delivered.", FailsOrder, fails),
        "whatsapp.template_approved": event("A template may be sent.", TemplateEventOrder, judged("APPROVED")),
        "whatsapp.template_rejected": event("A template may not be sent.", TemplateEventOrder, judged("REJECTED")),
        "whatsapp.template_paused": event(
            "A template rests, since people complained.", TemplateEventOrder, judged("PAUSED")
        ),
        "whatsapp.template_disabled": event("A template is gone for good.", TemplateEventOrder, judged("DISABLED")),
    }
