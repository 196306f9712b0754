"""Events in the simulated WhatsApp: messages are accepted and delivered, people write, and webhooks report it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from integrations.simulating.provider import Clock, ControlRefused, Json
from integrations.simulating.webhooks import AboutOrder, Event, Webhook, WebhookSender, event
from integrations.whatsapp.simulator.account import Account, Conditions, MetaError
from integrations.whatsapp.simulator.state import (
    PAUSED,
    SENDER,
    Customer,
    FailsOrder,
    InboundOrder,
    Message,
    ReportOrder,
    State,
    Status,
    TemplateEventOrder,
    TemplateOrder,
    WritesOrder,
    digits_of,
    new_id,
    outcome,
    template_status,
)
from integrations.whatsapp.simulator.validation import Sending, over_limit, pace, refusal
from integrations.whatsapp.simulator.webhooks import (
    TEMPLATE_FIELD,
    content_of,
    inbound_item,
    status_item,
    template_value,
    value_of,
    webhook,
)

WINDOW_CLOSED = 131047


@dataclass(slots=True)
class Backend:
    """Works for one account by one provider's clock; its webhook_sender carries the webhooks."""

    account: Account
    clock: Clock
    webhook_sender: WebhookSender
    records: State

    def accept(self, sending: Sending) -> MetaError | Json:
        """Take a message and answer as Meta does, or say what is wrong with it."""
        if error := refusal(sending):
            return error
        customer, now = self.records.customer(sending.digits), self.clock.now()
        if error := over_limit(customer, now, self.records.conditions, self.records.messages.values()):
            return error
        pace(customer, now)
        if not sending.is_by_user_id:
            customer.number_used_at = now
        message = self._message(sending, customer)
        self.records.messages[message.id] = message
        answered = {"id": message.id}
        if message.kind == "template":
            answered["message_status"] = template_status(customer.digits)
        if answered.get("message_status") != PAUSED:
            self.webhook_sender.live([partial(self._become, message, status) for status in self._statuses(message)])
        called = {"user_id": customer.user_id} if sending.is_by_user_id else {"wa_id": customer.wa_id}
        return {
            "messaging_product": "whatsapp",
            "contacts": [{"input": sending.address, **called}],
            "messages": [answered],
        }

    def inbound(self, order: InboundOrder) -> Json:
        """A person writes: their window opens, and the webhook goes out."""
        message, post = self.write(order)
        self.webhook_sender.post(post)
        return {**message.shown(), "webhook_id": post.id}

    def write(self, order: InboundOrder) -> tuple[Message, Webhook]:
        """The same, with the webhook still in hand."""
        digits, ours = digits_of(order.sender), self.account.phone_number_id
        if digits is None:
            raise ControlRefused(SENDER, field="sender")
        if order.recipient not in (None, ours):
            raise ControlRefused(f"the account's only number is {ours}", field="recipient")
        now, customer = self.clock.now(), self.records.customer(digits)
        customer.wrote_at = now
        customer.name, customer.username = order.name or customer.name, order.username or customer.username
        message = Message(
            id=new_id(customer),
            at=now,
            direction="inbound",
            customer=digits,
            our_id=ours,
            kind=order.kind,
            content=content_of(order),
            text=order.text or "",
            to=ours,
            status="received",
            reply_to=order.reply_to,
        )
        self.records.messages[message.id] = message
        item = inbound_item(order, customer, self.account, message.id, now)
        value = value_of(self.account, contacts=[customer.contact(now)], messages=[item])
        return message, webhook(self.account, "messages", value, message_id=message.id, to=ours)

    def report(self, message_id: str, order: ReportOrder) -> Json:
        """Bring a message to a status, and report it."""
        message = self.records.sent(message_id)
        if message is None:
            raise ControlRefused(f"no outbound message {message_id}", field="id")
        post = self._become(message, Status(order.status, order.code))
        if post is not None:
            self.webhook_sender.post(post)
        return {**message.shown(), "webhook_id": post.id if post else None}

    def tell(self, message_id: str | None, status: Status) -> Webhook:
        """Bring a message to a status, and give the webhook with that report and all that wait."""
        message = self.records.sent(message_id)
        if message is None:
            words = f"no outbound message {message_id}" if message_id else "nothing was sent yet: send a message first"
            raise ControlRefused(words, field="message")
        return self._become(message, status) or self._report_waiting(message)

    def judge_template(self, order: TemplateOrder) -> Webhook:
        """Bring a template, in one language, to another state, and give the webhook that tells of it."""
        named = (one["language"] for one in self.records.templates if one["name"] == order.name)
        language = order.language or next(named, None)
        template = self.change_template(order.model_copy(update={"language": language}))["templates"][0]
        return webhook(self.account, TEMPLATE_FIELD, template_value(template))

    def change_conditions(self, order: Json) -> Json:
        """Let the account do better or worse from now on."""
        self.records.conditions = Conditions.model_validate({**self.records.conditions.model_dump(), **order})
        if self.records.waiting and len(self.records.waiting) >= self.records.conditions.batch:
            self.webhook_sender.post(self._report_waiting())
        return self.records.conditions.model_dump(mode="json")

    def change_template(self, order: TemplateOrder) -> Json:
        """Bring a template to another state."""
        named = (one for one in self.records.templates if one["name"] == order.name)
        found = [one for one in named if order.language in (None, one["language"])]
        if not found:
            raise ControlRefused(f"no template {order.name}", field="name")
        for one in found:
            one["status"] = order.status
        return {"templates": found}

    def send_webhook(self, field: str, value: Any, *, message_id: str = "", to: str = "") -> Webhook:
        """Post a signed webhook with one change in it, of any content."""
        post = webhook(self.account, field, value, message_id=message_id, to=to)
        self.webhook_sender.post(post)
        return post

    def _message(self, sending: Sending, customer: Customer) -> Message:
        is_template = sending.kind == "template"
        category = sending.filling.template["category"].lower() if is_template else "service"
        free = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service"}
        priced = {"billable": True, "pricing_model": "PMP", "type": "regular"}
        context = sending.body.get("context") or {}
        return Message(
            id=new_id(customer),
            at=self.clock.now(),
            direction="outbound",
            customer=customer.digits,
            our_id=self.account.phone_number_id,
            kind=sending.kind,
            content=sending.body[sending.kind],
            text=sending.filling.text() if is_template else sending.text["body"],
            to=sending.address,
            status="accepted",
            reference=sending.body.get("biz_opaque_callback_data"),
            reply_to=context.get("message_id"),
            pricing={**(priced if is_template else free), "category": category},
            is_outside_window=not customer.window_is_open(self.clock.now()),
            history=["accepted"],
        )

    def _statuses(self, message: Message) -> Iterable[Status]:
        """What becomes of it: words outside a window are taken, and then fail."""
        if message.kind == "text" and message.is_outside_window:
            return (Status("failed", WINDOW_CLOSED),)
        return outcome(message.customer, self.records.conditions)

    def _become(self, message: Message, status: Status) -> Webhook | None:
        message.become(status)
        customer, now = self.records.customer(message.customer), self.clock.now()
        # The report of a failure carries no profile: that is Meta's way.
        contacts = [] if message.status == "failed" else [customer.contact(now)]
        self.records.waiting.append({"contacts": contacts, "status": status_item(message, customer, now)})
        is_full = len(self.records.waiting) >= self.records.conditions.batch
        return self._report_waiting(message) if is_full else None

    def _report_waiting(self, last: Message | None = None) -> Webhook:
        """One webhook with everything there is to report."""
        waiting, self.records.waiting = self.records.waiting, []
        contacts = {one["user_id"]: one for report in waiting for one in report["contacts"]}
        statuses = [report["status"] for report in waiting]
        value = value_of(self.account, contacts=list(contacts.values()), statuses=statuses)
        about, to = (last.id, f"+{last.customer}") if last else ("", "")
        return webhook(self.account, "messages", value, message_id=about, to=to)


# Events that the simulated WhatsApp can be told to send, by name.


Judgement = Literal["APPROVED", "REJECTED", "PAUSED", "DISABLED"]


def events_of(backend: Backend) -> Mapping[str, Event]:
    """The events of one account."""

    def becomes(word: str) -> Callable[[AboutOrder], Webhook]:
        return lambda order: backend.tell(order.message, Status(word))

    def judged(status: Judgement) -> Callable[[TemplateEventOrder], Webhook]:
        return lambda order: backend.judge_template(
            TemplateOrder(name=order.template, language=order.language, status=status)
        )

    def fails(order: FailsOrder) -> Webhook:
        return backend.tell(order.message, Status("failed", order.code))

    def writes(order: WritesOrder) -> Webhook:
        return backend.write(order.as_inbound())[1]

    return {
        "whatsapp.inbound": event("A person writes to our number, or answers a message of ours.", WritesOrder, writes),
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
