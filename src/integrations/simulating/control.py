"""The control API, `/sim/api/…`: reads simulators' state, sets faults and webhook plans, triggers events."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from integrations.simulating.faults import FaultOrder
from integrations.simulating.journal import Direction, Entry, Journal, Verdict
from integrations.simulating.provider import ControlRefused, Json, SimulatedProvider, fault_resource
from integrations.simulating.webhooks import WebhookPlan, explain_validation_error

LARGEST_MEMORY = 256 * 1024 * 1024
"""Bytes of a memory that is taken back."""
_MOMENT = TypeAdapter(datetime)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_CONTROL = "/sim/api"
_OF_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})


class ClockOrder(BaseModel, frozen=True, extra="forbid"):
    """Let time pass at once, up to a year."""

    seconds: float = Field(gt=0, le=366 * 86_400)


class Control:
    """Serves the control API of all providers of one process; `announcement` says where everything listens."""

    def __init__(
        self, providers: Mapping[str, SimulatedProvider], journal: Journal, announcement: Callable[[], Json]
    ) -> None:
        self.providers = providers
        self.journal = journal
        self.announcement = announcement

    def routes(self) -> list[web.RouteDef]:
        """The routes, from the root of the process."""
        one = "/sim/api/{provider}"
        return [
            web.get("/sim/api", self._everything),
            web.get("/sim/api/journal", self._journal),
            web.post("/sim/api/reset", self._reset_all),
            web.get(one, self._state),
            web.post(f"{one}/reset", self._reset),
            web.get(f"{one}/messages", self._messages),
            web.get(f"{one}/messages/{{id}}", self._message),
            web.post(f"{one}/messages/{{id}}/report", self._report),
            web.post(f"{one}/inbound", self._inbound),
            web.post(f"{one}/actions/{{action}}", self._act),
            web.post(f"{one}/events/{{event}}", self._trigger),
            web.post(f"{one}/clock", self._advance),
            web.get(f"{one}/export", self._export),
            web.post(f"{one}/import", self._import),
            web.get(f"{one}/faults", self._faults),
            web.post(f"{one}/faults", self._arm),
            web.delete(f"{one}/faults", self._disarm),
            web.delete(f"{one}/faults/{{id}}", self._disarm),
            web.put(f"{one}/webhooks", self._plan),
            web.delete(f"{one}/webhooks", self._plan_as_usual),
            web.post(f"{one}/webhooks/release", self._release),
            web.post(f"{one}/webhooks/{{id}}/redeliver", self._redeliver),
        ]

    async def _everything(self, request: web.Request) -> web.Response:
        return web.json_response(
            {**self.announcement(), "simulators": [provider.state() for provider in self.providers.values()]}
        )

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(self._provider(request).state())

    async def _journal(self, request: web.Request) -> web.Response:
        wanted = {key: request.query.get(key) for key in ("simulator", "to", "message_id", "webhook_id")}
        wanted["direction"] = _word(Direction, request, "direction")
        wanted["verdict"] = _word(Verdict, request, "verdict")
        since = _moment(request)

        def matches(entry: Entry) -> bool:
            return entry.at >= since and all(v is None or getattr(entry, k) == v for k, v in wanted.items())

        entries = [
            {**asdict(entry), "number": number, "at": entry.at.isoformat()}
            for number, entry in self.journal.read(matches)
        ]
        return web.json_response({"entries": entries})

    async def _messages(self, request: web.Request) -> web.Response:
        to, since = request.query.get("to"), _moment(request)
        kept = (m for m in self._provider(request).kept() if m.at >= since and (to is None or m.concerns(to)))
        return web.json_response({"messages": [message.shown() for message in kept]})

    async def _message(self, request: web.Request) -> web.Response:
        for message in self._provider(request).kept():
            if message.id == request.match_info["id"]:
                return web.json_response(message.shown())
        raise _not_found("message")

    async def _report(self, request: web.Request) -> web.Response:
        return web.json_response(self._provider(request).report(request.match_info["id"], await _json(request)))

    async def _inbound(self, request: web.Request) -> web.Response:
        return web.json_response(self._provider(request).inbound(await _json(request)), status=201)

    async def _act(self, request: web.Request) -> web.Response:
        actions = self._provider(request).actions()
        action = actions.get(request.match_info["action"])
        if action is None:
            raise _not_found(f"action; there are {sorted(actions)}")
        return web.json_response(await action(await _json(request)))

    async def _trigger(self, request: web.Request) -> web.Response:
        provider, order = self._provider(request), await _json(request)
        events = provider.events()
        event = events.get(request.match_info["event"])
        if event is None:
            raise _not_found(f"event; there are {sorted(events)}")
        webhook = event.make(order)
        received = await provider.webhook_sender.carry(webhook)
        named = {"id": webhook.id, "url": webhook.url, "message_id": webhook.message_id or None}
        return web.json_response({"webhook": {**named, **asdict(received)}})

    async def _advance(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        provider.advance(ClockOrder.model_validate(await _json(request)).seconds)
        return web.json_response({"now": provider.clock.now().isoformat()})

    async def _export(self, request: web.Request) -> web.Response:
        return web.json_response(self._provider(request).exported())

    async def _import(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        await provider.imported(await _json(request.clone(client_max_size=LARGEST_MEMORY)))
        return web.json_response(provider.state())

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [fault_resource(fault) for fault in self._provider(request).faults.armed]})

    async def _arm(self, request: web.Request) -> web.Response:
        fault = self._provider(request).arm(FaultOrder.model_validate(await _json(request)))
        return web.json_response(fault_resource(fault), status=201)

    async def _disarm(self, request: web.Request) -> web.Response:
        fault_id = request.match_info.get("id")
        disarmed = self._provider(request).faults.disarm(fault_id)
        if fault_id and not disarmed:
            raise _not_found("fault")
        return web.json_response({"disarmed": disarmed})

    async def _plan(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        usual = (provider.default_plan or WebhookPlan()).model_dump()
        provider.replan(WebhookPlan.model_validate({**usual, **await _json(request)}))
        return web.json_response(provider.webhook_sender.plan.model_dump(mode="json"))

    async def _plan_as_usual(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        provider.replan(provider.default_plan or WebhookPlan())
        return web.json_response(provider.webhook_sender.plan.model_dump(mode="json"))

    async def _release(self, request: web.Request) -> web.Response:
        return web.json_response({"released": self._provider(request).webhook_sender.release()})

    async def _redeliver(self, request: web.Request) -> web.Response:
        if not await self._provider(request).webhook_sender.redeliver(request.match_info["id"]):
            raise _not_found("webhook")
        return web.json_response({"redelivered": request.match_info["id"]})

    async def _reset(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        await provider.reset()
        return web.json_response(provider.state())

    async def _reset_all(self, request: web.Request) -> web.Response:
        for provider in self.providers.values():
            await provider.reset()
        return await self._everything(request)

    def _provider(self, request: web.Request) -> SimulatedProvider:
        provider = self.providers.get(request.match_info["provider"])
        if provider is None:
            raise _not_found(f"simulator; there are {sorted(self.providers)}")
        return provider


@web.middleware
async def guard(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    """Keep every simulator to programs on this machine, and word every refusal of the control API as JSON."""
    if (why := _of_a_page(request)) is not None:
        return _refused(403, why)
    if not request.path.startswith(_CONTROL):
        response: web.StreamResponse = await handler(request)
        return response
    try:
        response = await handler(request)
    except ControlRefused as refusal:
        return _refused(400, str(refusal), refusal.field)
    except ValidationError as refusal:
        return _refused(400, *explain_validation_error(refusal))
    except web.HTTPException as refusal:
        return _refused(refusal.status, refusal.text or refusal.reason)
    return response


def _of_a_page(request: web.Request) -> str | None:
    """Why a request is refused: a page somewhere on the web can make a browser here send it. None where none did.

    A name that leads here by a trick of DNS is no name of this machine. Browsers say where the page stands that asks
    (https://fetch.spec.whatwg.org/#http-origin, https://w3c.github.io/webappsec-fetch-metadata/); what looks as a form
    of a page does is refused as well, for those that do not. A page may only look, which shows it nothing.
    """
    host = request.host
    if host.rsplit(":", 1)[0] not in _LOOPBACK and host not in _LOOPBACK:
        return "simulators answer to loopback names only: 127.0.0.1, localhost or [::1]"
    is_control = request.path.startswith(_CONTROL)
    if is_control and request.method in ("GET", "HEAD"):
        return None
    origin = request.headers.get("Origin")
    is_foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
    if is_foreign or request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return "pages of other sites may not use the simulators"
    if is_control and request.content_type in _OF_FORMS and "Content-Type" in request.headers:
        return "forms may not use the control API: send Content-Type: application/json, or no body"
    return None


def _refused(status: int, message: str, field: str | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "field": field}}, status=status)


def _not_found(what: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=f"no such {what}")


async def _json(request: web.Request) -> Json:
    if request.content_type != "application/json":
        raise ControlRefused("send a JSON object with Content-Type: application/json")
    try:
        body = await request.json()
    except (ValueError, RecursionError) as error:
        raise ControlRefused(f"this is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ControlRefused("send a JSON object")
    return body


def _word(words: type[Direction] | type[Verdict], request: web.Request, key: str) -> str | None:
    word = request.query.get(key)
    if word is not None and word not in list(words):
        raise ControlRefused(f"{word!r} is none of {[str(known) for known in words]}", field=key)
    return word


def _moment(request: web.Request) -> datetime:
    since = request.query.get("since")
    if since is None:
        return datetime.min.replace(tzinfo=UTC)
    try:
        # A plus sign that was not escaped has become a space.
        moment = _MOMENT.validate_python(since.replace(" ", "+"))
    except ValidationError as error:
        raise ControlRefused("since is a moment in ISO 8601", field="since") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
