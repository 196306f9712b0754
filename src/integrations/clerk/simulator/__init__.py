"""The simulated Clerk: people, organisations, memberships and sessions, rotating keys, signed webhooks.

Of its HTTP API there are the keys alone. https://clerk.com/docs/reference/backend-api
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

from aiohttp import web

from integrations.clerk.simulator.backend import Backend, events_of
from integrations.clerk.simulator.control import (
    BanOrder,
    EmitOrder,
    MemberOrder,
    MemberReference,
    MintOrder,
    Order,
    OrganizationOrder,
    OrganizationReference,
    RevokeOrder,
    RotateOrder,
    SignInOrder,
    TokenOrder,
    UserOrder,
    UserReference,
)
from integrations.clerk.simulator.state import Account, State, initial_state
from integrations.simulating.exchange import SimulatedResponse, exchange, retry_after
from integrations.simulating.faults import FaultKind, FaultOrder
from integrations.simulating.journal import Journal, Verdict
from integrations.simulating.provider import (
    Action,
    ControlRefused,
    Json,
    SimulatedProvider,
    StoredMessage,
    dump_state,
    load_state,
)
from integrations.simulating.webhooks import Event, Webhook, WebhookPlan

_FAULTS = {
    FaultKind.RATE_LIMIT: (429, "too_many_requests"),
    FaultKind.SERVER_ERROR: (500, "internal_clerk_error"),
    FaultKind.TIMEOUT: (504, "gateway_timeout"),
    FaultKind.CODE: (422, ""),
}


class Simulator(SimulatedProvider):
    """One Clerk instance."""

    name = "clerk"
    points: ClassVar[Sequence[str]] = ("jwks", "api")
    default_plan = WebhookPlan()

    def __init__(self, environment: Mapping[str, str], journal: Journal) -> None:
        super().__init__(environment, journal)
        self.account = Account.read(environment)
        self.backend = Backend(self.account, self.clock.now)

    def routes(self) -> Sequence[web.RouteDef]:
        """The keys, as everybody may read them and as the backend API gives them."""
        return [
            web.get("/.well-known/jwks.json", self._publish),
            web.get("/v1/jwks", self._show_keys),
            web.route("*", "/{anything:.*}", self._unknown),
        ]

    def kept(self) -> Iterator[StoredMessage]:
        """It carries no messages."""
        return iter(())

    def forget(self) -> None:
        """Back to the first two people; the keys stay, as they do when people are forgotten."""
        self.backend.records = initial_state()

    def written_state(self) -> Json:
        """People, businesses, sessions."""
        return dump_state(self.backend.records)

    def read_state(self, records: Json) -> None:
        """Take them from somewhere else."""
        self.backend.records = load_state(State, records)

    def details(self) -> Json:
        """Who is there."""
        books = self.backend.records
        return {
            "issuer": self.account.issuer,
            "users": sorted(books.users),
            "organizations": sorted(books.organizations),
            "sessions": len(books.sessions),
        }

    def check(self, order: FaultOrder) -> None:
        """Clerk's codes are words."""
        if order.code is not None and not re.fullmatch("[a-z_]{3,64}", order.code):
            raise ControlRefused("a code of Clerk's is a word, such as resource_not_found", field="code")

    def events(self) -> Mapping[str, Event]:
        """What can be told."""
        return events_of(self.backend)

    def actions(self) -> Mapping[str, Action]:
        """People come, change and go; they sign in; keys rotate."""
        backend = self.backend
        return {
            "user": self._saving(UserOrder, backend.save_user),
            "organization": self._saving(OrganizationOrder, backend.save_organization),
            "member": self._saving(MemberOrder, backend.save_member),
            "ban_user": self._saving(BanOrder, backend.ban_user),
            "revoke": self._saving(RevokeOrder, backend.revoke),
            "delete_user": self._removing(UserReference, backend.delete_user),
            "delete_organization": self._removing(OrganizationReference, backend.delete_organization),
            "remove_member": self._removing(MemberReference, backend.remove_member),
            "sign_in": self._sign_in,
            "token": self._fresh_token,
            "mint": self._mint,
            "rotate_keys": self._rotate_keys,
            "emit": self._emit,
        }

    def _saving(self, kind: type[Order], do: Callable[..., tuple[object, Webhook]]) -> Action:
        async def act(given: Json) -> Json:
            order = kind.model_validate(given)
            saved, webhook = do(order)
            return {**dump_state(saved), "webhook_id": self._told(order, webhook)}

        return act

    def _removing(self, kind: type[Order], do: Callable[..., Webhook]) -> Action:
        async def act(given: Json) -> Json:
            order = kind.model_validate(given)
            return {"webhook_id": self._told(order, do(order))}

        return act

    def _told(self, order: Order, webhook: Webhook) -> str | None:
        if not order.tell:
            return None
        self.webhook_sender.post(webhook)
        return webhook.id

    async def _sign_in(self, order: Json) -> Json:
        return self.backend.sign_in(SignInOrder.model_validate(order))

    async def _fresh_token(self, order: Json) -> Json:
        return self.backend.fresh_token(TokenOrder.model_validate(order))

    async def _mint(self, order: Json) -> Json:
        wanted = MintOrder.model_validate(order)
        return {"token": self.backend.keyring.sign(wanted.claims, wanted.header)}

    async def _rotate_keys(self, order: Json) -> Json:
        return {"kid": self.backend.keyring.rotate(withdraw=RotateOrder.model_validate(order).withdraw)}

    async def _emit(self, order: Json) -> Json:
        webhook = self.backend.emit(EmitOrder.model_validate(order))
        self.webhook_sender.post(webhook)
        return {"webhook_id": webhook.id}

    async def _publish(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "jwks", lambda: _said(self.backend.keyring.published()))

    async def _show_keys(self, request: web.Request) -> web.StreamResponse:
        def admitted() -> SimulatedResponse:
            if not self.account.admits(request.headers.get("Authorization", "")):
                return _refused(401, "authentication_invalid")
            return _said(self.backend.keyring.published())

        return await self._serve(request, "api", admitted)

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "unknown", lambda: _refused(404, "resource_not_found"))

    async def _serve(
        self, request: web.Request, at: str, perform: Callable[[], SimulatedResponse]
    ) -> web.StreamResponse:
        return await exchange(self, request, at=at, to=None, perform=perform, excuse=_excuse)


def _said(body: Json) -> SimulatedResponse:
    return SimulatedResponse(200, json.dumps(body), Verdict.ANSWERED)


def _refused(status: int, code: str, headers: Mapping[str, str] | None = None) -> SimulatedResponse:
    words = code.replace("_", " ")
    error = {"code": code, "message": words, "long_message": words, "meta": {}}
    body = json.dumps({"errors": [error], "clerk_trace_id": "simulated"})
    return SimulatedResponse(status, body, Verdict.REFUSED, headers=headers or {}, code=code)


def _excuse(order: FaultOrder) -> SimulatedResponse:
    status, code = _FAULTS[order.kind]
    return _refused(order.status or status, order.code or code, retry_after(order))
