"""The simulated Twilio: messages in Twilio's wire format, its errors, signed callbacks and opt-out words.

Media, content templates and scheduling are refused with 501. https://www.twilio.com/docs/messaging/api/message-resource
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar
from urllib.parse import parse_qsl

from aiohttp import web

from integrations.simulating.exchange import SimulatedResponse, exchange, retry_after
from integrations.simulating.faults import FaultKind, FaultOrder
from integrations.simulating.journal import Journal, Verdict
from integrations.simulating.provider import ControlRefused, Json, SimulatedProvider, dump_state, load_state
from integrations.simulating.webhooks import AboutOrder, Event, Webhook, WebhookPlan, event
from integrations.twilio.simulator.listing import listed
from integrations.twilio.simulator.state import (
    EXPIRED,
    VALID_FOR,
    Account,
    FailsOrder,
    InboundOrder,
    Message,
    ReportOrder,
    State,
    Status,
    WritesOrder,
    outcome,
)
from integrations.twilio.simulator.validation import Sending, TwilioError, refusal
from integrations.twilio.simulator.webhooks import inbound_fields, status_fields, webhook

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "PARAR", "SAIR"})
START_WORDS = frozenset({"START", "YES", "UNSTOP", "VOLTAR"})
_FAULT_CODES = {FaultKind.RATE_LIMIT: 20429, FaultKind.SERVER_ERROR: 20500, FaultKind.TIMEOUT: 20503}


class Simulator(SimulatedProvider):
    """Twilio's messaging API for one account."""

    name = "twilio"
    points: ClassVar[Sequence[str]] = ("send", "fetch", "list", "account")
    default_plan = WebhookPlan(delays=(0.05, 0.1), retries=1)

    def __init__(self, environment: Mapping[str, str], journal: Journal) -> None:
        super().__init__(environment, journal)
        self.account = Account.read(environment)
        self.records = State()

    def routes(self) -> Sequence[web.RouteDef]:
        """The part of Twilio's API there is; everything else is Twilio's 404."""
        account = "/2010-04-01/Accounts/{account}"
        return [
            web.post(f"{account}/Messages.json", self._send),
            web.get(f"{account}/Messages.json", self._list),
            web.get(f"{account}/Messages/{{sid}}.json", self._fetch),
            web.get(f"{account}.json", self._show_account),
            web.route("*", "/{anything:.*}", self._unknown),
        ]

    def kept(self) -> Iterator[Message]:
        """Every message, inbound ones too."""
        return iter(self.records.messages.values())

    def forget(self) -> None:
        """Forget messages and opt-outs."""
        self.records = State()

    def written_state(self) -> Json:
        """Messages and opt-outs."""
        return dump_state(self.records)

    def read_state(self, records: Json) -> None:
        """Take them from somewhere else."""
        self.records = load_state(State, records)

    def advance(self, seconds: float) -> None:
        """Let time pass, and give up what has waited in the queue for longer than it is valid."""
        super().advance(seconds)
        for message in [one for one in self.kept() if one.is_overdue(self.clock.now())]:
            post = self._become(message, EXPIRED)
            if post is not None:
                self.webhook_sender.post(post)

    def details(self) -> Json:
        """Who has opted out, and which sender and service there are."""
        return {
            "account_sid": self.account.sid,
            "number": self.account.number,
            "messaging_service": self.account.service,
            "inbound_url": self.account.inbound_url,
            "opted_out": sorted(customer for customer, _ in self.records.opted_out),
        }

    def check(self, order: FaultOrder) -> None:
        """Twilio's codes are numbers of five digits."""
        if order.code is not None and not (order.code.isdecimal() and len(order.code) == 5):
            raise ControlRefused("a Twilio code has five digits, such as 21610", field="code")

    def inbound(self, order: Json) -> Json:
        """A customer writes: honour STOP and START, and post the signed webhook."""
        message, post = self._write(InboundOrder.model_validate(order))
        self.webhook_sender.post(post)
        return {**message.shown(), "webhook_id": post.id}

    def report(self, message_id: str, order: Json) -> Json:
        """Bring a message to a status, and call back."""
        wanted = ReportOrder.model_validate(order)
        message = self.records.sent(message_id)
        if message is None:
            raise ControlRefused(f"no outbound message {message_id}", field="id")
        post = self._become(message, Status(wanted.status, wanted.code))
        if post is not None:
            self.webhook_sender.post(post)
        return {**message.shown(), "webhook_id": post.id if post else None}

    def events(self) -> Mapping[str, Event]:
        """A customer writes, or something becomes of a message."""

        def becomes(word: str) -> Callable[[AboutOrder], Webhook]:
            return lambda order: self._told(order.message, Status(word))

        def fails(word: str) -> Callable[[FailsOrder], Webhook]:
            return lambda order: self._told(order.message, Status(word, order.code))

        return {
            "sms.inbound": event("A customer writes to our number.", WritesOrder, lambda order: self._write(order)[1]),
            "sms.sent": event("The network has taken a message.", AboutOrder, becomes("sent")),
            "sms.delivered": event("The telephone has a message.", AboutOrder, becomes("delivered")),
            "sms.undelivered": event("A message did not reach the telephone.", FailsOrder, fails("undelivered")),
            "sms.failed": event("A message could not be sent.", FailsOrder, fails("failed")),
        }

    def _write(self, order: InboundOrder) -> tuple[Message, Webhook]:
        ours, now = order.recipient or self.account.number, self.clock.now()
        message = Message(self.account.sid, ours, order.sender, order.text, "received", now, direction="inbound")
        self.records.messages[message.id] = message
        word = order.text.strip().upper()
        if word in STOP_WORDS:
            self.records.opt_out(order.sender, ours)
        elif word in START_WORDS:
            self.records.opt_in(order.sender, ours)
        fields = inbound_fields(message)
        return message, webhook(
            self.account.tokens[0], self.account.inbound_url, fields, message_id=message.id, to=message.to
        )

    def _told(self, message_id: str | None, status: Status) -> Webhook:
        """Bring a message to a status, and give the report of it."""
        message = self.records.sent(message_id)
        if message is None:
            words = f"no outbound message {message_id}" if message_id else "nothing was sent yet: send a message first"
            raise ControlRefused(words, field="message")
        if message.callback is None:
            words = f"{message.id} was sent without a StatusCallback: nothing is ever reported about it"
            raise ControlRefused(words, field="message")
        post = self._become(message, status)
        assert post is not None  # noqa: S101  # it has a callback
        return post

    async def _send(self, request: web.Request) -> web.StreamResponse:
        is_form = request.content_type == "application/x-www-form-urlencoded"
        body = (await request.read()).decode("utf-8", "replace")
        # What is not a form has no parameters. Repeated ones: the last counts.
        form = dict(parse_qsl(body, keep_blank_values=True)) if is_form else {}
        return await self._serve(request, "send", partial(self._accept, form), form.get("To"))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        def look() -> SimulatedResponse:
            found = listed(self.kept(), request.query, _own_path(request))
            return _refused(found) if isinstance(found, TwilioError) else _said(found)

        return await self._serve(request, "list", look, None)

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        message = self.records.messages.get(request.match_info["sid"])
        found = (lambda: _refused(_not_found(request))) if message is None else (lambda: _said(message.resource()))
        return await self._serve(request, "fetch", found, None)

    async def _show_account(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "account", lambda: _said(self.account.shown()), None)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "unknown", lambda: _refused(_not_found(request)), None)

    async def _serve(
        self, request: web.Request, at: str, perform: Callable[[], SimulatedResponse], to: str | None
    ) -> web.StreamResponse:
        def admitted() -> SimulatedResponse:
            if not self.account.admits(request.headers.get("Authorization", "")):
                return _refused(TwilioError(20003))
            if request.match_info.get("account", self.account.sid) != self.account.sid:
                return _refused(_not_found(request))
            return perform()

        return await exchange(self, request, at=at, to=to, perform=admitted, excuse=_excuse)

    def _accept(self, form: Mapping[str, str]) -> SimulatedResponse:
        sending = Sending(form, self.account, self.records.opted_out)
        if error := refusal(sending):
            return _refused(error)
        message = Message(
            account_sid=self.account.sid,
            to=sending.to,
            sender=sending.sender,
            body=form["Body"],
            status="accepted" if sending.service else "queued",
            at=self.clock.now(),
            service=sending.service or None,
            callback=form.get("StatusCallback"),
            valid_for=sending.valid_for or VALID_FOR,
        )
        message.history.append(message.status)
        self.records.messages[message.id] = message
        self.webhook_sender.live([partial(self._live_on, message, status) for status in outcome(message.to)])
        return _said(message.resource(), 201, Verdict.ACCEPTED, message.id)

    def _live_on(self, message: Message, status: Status) -> Webhook | None:
        return None if message.has_expired else self._become(message, status)

    def _become(self, message: Message, status: Status) -> Webhook | None:
        message.become(status, self.clock.now())
        if message.callback is None:
            return None
        fields = status_fields(message)
        return webhook(self.account.tokens[0], message.callback, fields, message_id=message.id, to=message.to)


def _own_path(request: web.Request) -> str:
    """The path as Twilio knows it, without the prefix it is mounted under here."""
    return request.path[request.path.index("/2010-04-01") :]


def _not_found(request: web.Request) -> TwilioError:
    return TwilioError(20404, request.path.removeprefix("/twilio"))


def _said(
    body: Json, status: int = 200, verdict: Verdict = Verdict.ANSWERED, message_id: str | None = None
) -> SimulatedResponse:
    return SimulatedResponse(status, json.dumps(body), verdict, message_id=message_id)


def _refused(error: TwilioError, headers: Mapping[str, str] | None = None) -> SimulatedResponse:
    challenge = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if error.http_status == 401 else {}
    return SimulatedResponse(
        error.http_status,
        json.dumps(error.shown()),
        Verdict.REFUSED,
        headers={**challenge, **(headers or {})},
        code=str(error.code),
    )


def _excuse(order: FaultOrder) -> SimulatedResponse:
    code = int(order.code) if order.code else _FAULT_CODES[order.kind]
    return _refused(TwilioError(code, status=order.status, text=order.text), retry_after(order))
