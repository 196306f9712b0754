"""A Twilio of our own: messages in Twilio's wire format, its errors, its signed callbacks, its opt-out words.

Media, content templates and scheduling are refused with 501. https://www.twilio.com/docs/messaging/api/message-resource
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import BaseModel, Field

from integrations.simulating.company import ControlRefused, Json, SimulatedCompany
from integrations.simulating.exchange import Answer, exchange, retry_after
from integrations.simulating.faults import FaultKind, FaultOrder
from integrations.simulating.journal import Journal, Verdict
from integrations.simulating.webhooks import Webhook, WebhookPlan
from integrations.twilio.simulator.account import Account
from integrations.twilio.simulator.callbacks import inbound_fields, status_fields, webhook
from integrations.twilio.simulator.errors import TwilioError
from integrations.twilio.simulator.listing import listed
from integrations.twilio.simulator.message import Message
from integrations.twilio.simulator.outcomes import Status, outcome
from integrations.twilio.simulator.rules import Sending, refusal

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "PARAR", "SAIR"})
START_WORDS = frozenset({"START", "YES", "UNSTOP", "VOLTAR"})
_FAULT_CODES = {FaultKind.RATE_LIMIT: 20429, FaultKind.SERVER_ERROR: 20500, FaultKind.TIMEOUT: 20503}


class InboundOrder(BaseModel, frozen=True, extra="forbid"):
    """A customer writes to one of our numbers."""

    sender: str = Field(pattern=r"^\+?[0-9]{3,15}$")
    text: str = Field(max_length=1600)
    recipient: str | None = None


class ReportOrder(BaseModel, frozen=True, extra="forbid"):
    """Something becomes of a message."""

    status: Literal["queued", "sending", "sent", "delivered", "undelivered", "failed"]
    code: int | None = Field(None, ge=10000, le=99999)


class Simulator(SimulatedCompany):
    """Twilio's messaging API for one account."""

    name = "twilio"
    points: ClassVar[Sequence[str]] = ("send", "fetch", "list", "account")
    default_plan = WebhookPlan(delays=(0.05, 0.1), retries=1)

    def __init__(self, environment: Mapping[str, str], journal: Journal) -> None:
        super().__init__(environment, journal)
        self.account = Account.read(environment)
        self._messages: dict[str, Message] = {}
        self._opted_out: set[tuple[str, str]] = set()

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
        return iter(self._messages.values())

    def forget(self) -> None:
        """Forget messages and opt-outs."""
        self._messages.clear()
        self._opted_out.clear()

    def details(self) -> Json:
        """Who has opted out, and which sender and service there are."""
        return {
            "account_sid": self.account.sid,
            "number": self.account.number,
            "messaging_service": self.account.service,
            "inbound_url": self.account.inbound_url,
            "opted_out": sorted(customer for customer, _ in self._opted_out),
        }

    def check(self, order: FaultOrder) -> None:
        """Twilio's codes are numbers of five digits."""
        if order.code is not None and not (order.code.isdecimal() and len(order.code) == 5):
            raise ControlRefused("a Twilio code has five digits, such as 21610", field="code")

    def inbound(self, order: Json) -> Json:
        """A customer writes: honour STOP and START, and post the signed webhook."""
        wanted = InboundOrder.model_validate(order)
        ours = wanted.recipient or self.account.number
        message = Message(self.account.sid, ours, wanted.sender, wanted.text, "received", direction="inbound")
        self._messages[message.id] = message
        word = wanted.text.strip().upper()
        if word in STOP_WORDS:
            self._opted_out.add((wanted.sender, ours))
        elif word in START_WORDS:
            self._opted_out.discard((wanted.sender, ours))
        fields = inbound_fields(message)
        post = webhook(self.account.tokens[0], self.account.inbound_url, fields, message_id=message.id, to=message.to)
        self.courier.post(post)
        return {**message.shown(), "webhook_id": post.id}

    def report(self, message_id: str, order: Json) -> Json:
        """Bring a message to a status, and call back."""
        wanted = ReportOrder.model_validate(order)
        message = self._messages.get(message_id)
        if message is None or message.direction == "inbound":
            raise ControlRefused(f"no outbound message {message_id}", field="id")
        post = self._become(message, Status(wanted.status, wanted.code))
        if post is not None:
            self.courier.post(post)
        return {**message.shown(), "webhook_id": post.id if post else None}

    async def _send(self, request: web.Request) -> web.StreamResponse:
        is_form = request.content_type == "application/x-www-form-urlencoded"
        body = (await request.read()).decode("utf-8", "replace")
        # What is not a form has no parameters. Repeated ones: the last counts.
        form = dict(parse_qsl(body, keep_blank_values=True)) if is_form else {}
        return await self._serve(request, "send", partial(self._accept, form), form.get("To"))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        def look() -> Answer:
            found = listed(self.kept(), request.query, _own_path(request))
            return _refused(found) if isinstance(found, TwilioError) else _said(found)

        return await self._serve(request, "list", look, None)

    async def _fetch(self, request: web.Request) -> web.StreamResponse:
        message = self._messages.get(request.match_info["sid"])
        found = (lambda: _refused(_not_found(request))) if message is None else (lambda: _said(message.resource()))
        return await self._serve(request, "fetch", found, None)

    async def _show_account(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "account", lambda: _said(self.account.shown()), None)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "unknown", lambda: _refused(_not_found(request)), None)

    async def _serve(
        self, request: web.Request, at: str, perform: Callable[[], Answer], to: str | None
    ) -> web.StreamResponse:
        def admitted() -> Answer:
            if not self.account.admits(request.headers.get("Authorization", "")):
                return _refused(TwilioError(20003))
            if request.match_info.get("account", self.account.sid) != self.account.sid:
                return _refused(_not_found(request))
            return perform()

        return await exchange(self, request, at=at, to=to, perform=admitted, excuse=_excuse)

    def _accept(self, form: Mapping[str, str]) -> Answer:
        sending = Sending(form, self.account, self._opted_out)
        if error := refusal(sending):
            return _refused(error)
        message = Message(
            account_sid=self.account.sid,
            to=sending.to,
            sender=sending.sender,
            body=form["Body"],
            status="accepted" if sending.service else "queued",
            service=sending.service or None,
            callback=form.get("StatusCallback"),
        )
        message.history.append(message.status)
        self._messages[message.id] = message
        self.courier.live([partial(self._become, message, status) for status in outcome(message.to)])
        return _said(message.resource(), 201, Verdict.ACCEPTED, message.id)

    def _become(self, message: Message, status: Status) -> Webhook | None:
        message.become(status)
        if message.callback is None:
            return None
        fields = status_fields(message)
        return webhook(self.account.tokens[0], message.callback, fields, message_id=message.id, to=message.to)


def _own_path(request: web.Request) -> str:
    """The path as Twilio knows it, without the prefix it is mounted under here."""
    return request.path[request.path.index("/2010-04-01") :]


def _not_found(request: web.Request) -> TwilioError:
    return TwilioError(20404, request.path.removeprefix("/twilio"))


def _said(body: Json, status: int = 200, verdict: Verdict = Verdict.ANSWERED, message_id: str | None = None) -> Answer:
    return Answer(status, json.dumps(body), verdict, message_id=message_id)


def _refused(error: TwilioError, headers: Mapping[str, str] | None = None) -> Answer:
    challenge = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if error.http_status == 401 else {}
    return Answer(
        error.http_status,
        json.dumps(error.shown()),
        Verdict.REFUSED,
        headers={**challenge, **(headers or {})},
        code=str(error.code),
    )


def _excuse(order: FaultOrder) -> Answer:
    code = int(order.code) if order.code else _FAULT_CODES[order.kind]
    return _refused(TwilioError(code, status=order.status, text=order.text), retry_after(order))
