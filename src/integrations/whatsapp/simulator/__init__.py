"""The simulated WhatsApp: the Cloud API in Meta's wire format, errors, templates, windows and signed webhooks.

Media and groups are refused. https://developers.facebook.com/docs/whatsapp/cloud-api
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any, ClassVar
from urllib.parse import urlencode

from aiohttp import web

from integrations.simulating.exchange import SimulatedResponse, exchange, retry_after
from integrations.simulating.faults import FaultKind, FaultOrder
from integrations.simulating.journal import Journal, Verdict
from integrations.simulating.provider import Action, ControlRefused, Json, SimulatedProvider, dump_state, load_state
from integrations.simulating.webhooks import Event, WebhookPlan
from integrations.whatsapp.simulator.account import Account, MetaError, Permission, token_refusal, token_shown
from integrations.whatsapp.simulator.backend import Backend, events_of
from integrations.whatsapp.simulator.state import (
    ChangeOrder,
    InboundOrder,
    Message,
    ReportOrder,
    State,
    TemplateOrder,
    digits_of,
)
from integrations.whatsapp.simulator.templates import Filling, listed, with_fields
from integrations.whatsapp.simulator.validation import Sending

_FAULT_CODES = {FaultKind.RATE_LIMIT: 130429, FaultKind.SERVER_ERROR: 131000, FaultKind.TIMEOUT: 131016}
_VERSION = re.compile(r"v(1[7-9]|2\d)\.0")


class Simulator(SimulatedProvider):
    """The Cloud API for one business account with one number."""

    name = "whatsapp"
    points: ClassVar[Sequence[str]] = ("send", "templates", "number", "token")
    default_plan = WebhookPlan(delays=(0.05, 0.1), retries=1)

    def __init__(self, environment: Mapping[str, str], journal: Journal) -> None:
        super().__init__(environment, journal)
        self.account = Account.read(environment)
        self.backend = Backend(self.account, self.clock, self.webhook_sender, State.first_day(self.clock.now()))

    def routes(self) -> Sequence[web.RouteDef]:
        """The part of the Graph API there is; everything else is Meta's 400."""
        return [
            web.post("/{version}/{id}/messages", self._send),
            web.get("/{version}/{id}/message_templates", self._list_templates),
            web.get("/{version}/debug_token", self._show_token),
            web.get("/{version}/{id}", self._show_number),
            web.route("*", "/{anything:.*}", self._unknown),
        ]

    def kept(self) -> Iterator[Message]:
        """Every message, inbound ones too."""
        return iter(self.backend.records.messages.values())

    def forget(self) -> None:
        """Back to two customers who have just written, and every condition as usual."""
        self.backend.records = State.first_day(self.clock.now())

    def details(self) -> Json:
        """The account, how it is doing, and whose window is open."""
        now, books = self.clock.now(), self.backend.records
        return {
            "phone_number_id": self.account.phone_number_id,
            "business_account_id": self.account.business_account_id,
            "number": f"+{self.account.number}",
            "webhook_url": self.account.webhook_url,
            "conditions": books.conditions.model_dump(mode="json"),
            "templates": [{key: one[key] for key in ("name", "language", "status")} for one in books.templates],
            "customers": [
                {"number": f"+{one.digits}", **one.contact(now), "window_is_open": one.window_is_open(now)}
                for one in books.customers.values()
            ],
        }

    def check(self, order: FaultOrder) -> None:
        """Meta's codes are numbers of up to seven digits."""
        if order.code is not None and not (order.code.isdecimal() and len(order.code) <= 7):
            raise ControlRefused("a code of Meta's has up to seven digits, such as 131026", field="code")

    def written_state(self) -> Json:
        """Messages, people, templates, circumstances, and reports that wait."""
        return dump_state(self.backend.records)

    def read_state(self, records: Json) -> None:
        """Take them from somewhere else."""
        self.backend.records = load_state(State, records)

    def inbound(self, order: Json) -> Json:
        """A person writes to our number."""
        return self.backend.inbound(InboundOrder.model_validate(order))

    def report(self, message_id: str, order: Json) -> Json:
        """Something becomes of a message, now."""
        return self.backend.report(message_id, ReportOrder.model_validate(order))

    def events(self) -> Mapping[str, Event]:
        """A person writes, a message changes its state, Meta reviews a template."""
        return events_of(self.backend)

    def actions(self) -> Mapping[str, Action]:
        """Change conditions or a template, send any webhook, ask our address for its handshake."""
        return {
            "conditions": self._change_conditions,
            "template": self._change_template,
            "webhook": self._send_webhook,
            "handshake": self._shake_hands,
        }

    async def _change_conditions(self, order: Json) -> Json:
        return self.backend.change_conditions(order)

    async def _change_template(self, order: Json) -> Json:
        return self.backend.change_template(TemplateOrder.model_validate(order))

    async def _send_webhook(self, order: Json) -> Json:
        wanted = ChangeOrder.model_validate(order)
        return {"webhook_id": self.backend.send_webhook(wanted.field, wanted.value).id}

    async def _shake_hands(self, order: Json) -> Json:
        """Ask as Meta does when a webhook is set up; with another `verify_token` where the order has one."""
        token = str(order.get("verify_token", self.account.verify_token))
        challenge = str(int(token_hex(4), 16))
        query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
        status, text = await self.webhook_sender.ask(f"{self.account.webhook_url}?{urlencode(query)}")
        return {"status": status, "answer": text[:200], "is_verified": (status, text) == (200, challenge)}

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request)
        to = str(body.get("to") or body.get("recipient") or "")
        digits = digits_of(to)

        def perform() -> SimulatedResponse:
            if request.match_info["id"] != self.account.phone_number_id:
                return _refused(_not_there(request.match_info["id"]))
            if body.get("status") == "read" and body.get("messaging_product") == "whatsapp":
                return self._mark_read(str(body.get("message_id")))
            return self._accept(
                Sending(body, self.account, Filling(self.backend.records.templates, body.get("template")))
            )

        return await self._serve(
            request, "send", perform, permission=Permission.SEND, to=f"+{digits}" if digits else to
        )

    def _accept(self, sending: Sending) -> SimulatedResponse:
        taken = self.backend.accept(sending)
        if isinstance(taken, MetaError):
            return _refused(taken)
        return _said(taken, Verdict.ACCEPTED, taken["messages"][0]["id"])

    def _mark_read(self, message_id: str) -> SimulatedResponse:
        message = self.backend.records.messages.get(message_id)
        if message is None or message.direction != "inbound":
            return _refused(MetaError(131009, "message_id is not a message that a person wrote to us"))
        message.status = "read"
        return _said({"success": True})

    async def _list_templates(self, request: web.Request) -> web.StreamResponse:
        def perform() -> SimulatedResponse:
            if request.match_info["id"] != self.account.business_account_id:
                return _refused(_not_there(request.match_info["id"]))
            address = str(request.url.with_query(None))
            return _said(listed(self.backend.records.templates, request.query, address))

        return await self._serve(request, "templates", perform, permission=Permission.MANAGE)

    async def _show_number(self, request: web.Request) -> web.StreamResponse:
        def perform() -> SimulatedResponse:
            if request.match_info["id"] != self.account.phone_number_id:
                return _refused(_not_there(request.match_info["id"]))
            return _said(with_fields(self.account.shown(self.backend.records.conditions), request.query.get("fields")))

        return await self._serve(request, "number", perform)

    async def _show_token(self, request: web.Request) -> web.StreamResponse:
        given = request.query.get("input_token", "")
        return await self._serve(
            request, "token", lambda: _said(token_shown(self.account, self.backend.records.conditions, given))
        )

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "unknown", lambda: _refused(_no_such_path(request)))

    async def _serve(
        self,
        request: web.Request,
        at: str,
        perform: Callable[[], SimulatedResponse],
        *,
        permission: Permission | None = None,
        to: str | None = None,
    ) -> web.StreamResponse:
        def admitted() -> SimulatedResponse:
            if not _VERSION.fullmatch(request.match_info.get("version", "")):
                return _refused(_no_such_path(request))
            error = token_refusal(self.account, self.backend.records.conditions, request, permission)
            return _refused(error) if error else perform()

        return await exchange(self, request, at=at, to=to, perform=admitted, excuse=_excuse)


async def _body(request: web.Request) -> Json:
    """The JSON object of a request; anything else holds no parameters."""
    if request.content_type != "application/json":
        return {}
    try:
        body: Any = json.loads(await request.read())
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _not_there(found: str) -> MetaError:
    words = (
        f"Unsupported request. Object with ID '{found}' does not exist, cannot be loaded due to missing permissions, "
        "or does not support this operation."
    )
    return MetaError(100, subcode=33, text=words)


def _no_such_path(request: web.Request) -> MetaError:
    return MetaError(2500, text=f"Unknown path components: {request.path.removeprefix('/whatsapp')}")


def _said(body: Json, verdict: Verdict = Verdict.ANSWERED, message_id: str | None = None) -> SimulatedResponse:
    return SimulatedResponse(200, json.dumps(body), verdict, message_id=message_id)


def _refused(error: MetaError, headers: Mapping[str, str] | None = None) -> SimulatedResponse:
    shown = json.dumps(error.shown())
    return SimulatedResponse(error.http_status, shown, Verdict.REFUSED, headers=headers or {}, code=str(error.code))


def _excuse(order: FaultOrder) -> SimulatedResponse:
    code = int(order.code) if order.code else _FAULT_CODES[order.kind]
    return _refused(MetaError(code, status=order.status, text=order.text), retry_after(order))
