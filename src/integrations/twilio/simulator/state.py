"""The state of the simulated Twilio: account, messages, outcomes by recipient, and the requests that control it."""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from hmac import compare_digest
from secrets import token_hex
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

from core.segments import count_segments
from integrations.simulating.provider import STRICT, Json
from integrations.simulating.webhooks import AboutOrder, matching

# The magic sender: the number of an account that is not configured. https://www.twilio.com/docs/iam/test-credentials
DEFAULT_NUMBER = "+15005550006"


@dataclass(frozen=True, slots=True)
class Account:
    """One Twilio account. The first auth token signs webhooks; while rotating, each of them lets in."""

    sid: str
    tokens: tuple[str, ...] = field(repr=False)
    api_key: tuple[str, str] | None = field(repr=False)
    number: str
    service: str | None
    inbound_url: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Account":
        """Read the variables that the adapter reads; what is absent is a dummy."""
        key, secret = environment.get("TWILIO_API_KEY_SID"), environment.get("TWILIO_API_KEY_SECRET")
        base = environment.get("PUBLIC_BASE_URL") or "http://localhost:8000"
        tokens = environment.get("TWILIO_AUTH_TOKEN") or "0" * 32
        return cls(
            sid=environment.get("TWILIO_ACCOUNT_SID") or f"AC{'0' * 32}",
            tokens=tuple(token.strip() for token in tokens.split(",")),
            api_key=(key, secret) if key and secret else None,
            number=environment.get("TWILIO_PHONE_NUMBER") or DEFAULT_NUMBER,
            service=environment.get("TWILIO_MESSAGING_SERVICE_SID") or None,
            inbound_url=f"{base.rstrip('/')}/webhooks/twilio",
        )

    def admits(self, authorization: str) -> bool:
        """Whether an Authorization header is ours; takes the same time for every wrong one."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
        except NotBase64:
            given = b""
        pairs = [(self.sid, token) for token in self.tokens] + ([self.api_key] if self.api_key else [])
        # Each pair is compared: `any` over a list, not over a generator that stops at the first.
        return any([compare_digest(given, f"{user}:{secret}".encode()) for user, secret in pairs])  # noqa: C419

    def shown(self) -> Json:
        """The account resource."""
        uri = f"/2010-04-01/Accounts/{self.sid}"
        return {
            "sid": self.sid,
            "owner_account_sid": self.sid,
            "friendly_name": "Simulated account",
            "status": "active",
            "type": "Full",
            "date_created": "Mon, 23 Nov 2026 14:00:00 +0000",
            "date_updated": "Mon, 23 Nov 2026 14:00:00 +0000",
            "auth_token": None,
            "subresource_uris": {"messages": f"{uri}/Messages.json"},
            "uri": f"{uri}.json",
        }


# What becomes of a message, decided by its recipient, so that a test or a person can choose.
#
# +55119000 30003         undelivered, error 30003; so too 30001 … 30099, and every other recipient of this form
# +55119000 00001         sent, and never a word from the handset
# +55119000 00002         failed (30008), and then delivered all the same
# +55119000 00003         failed (30001) before it was sent
# anybody else            sent, delivered


@dataclass(frozen=True, slots=True)
class Status:
    """One status a message comes to."""

    word: str
    error_code: int | None = None


EXPIRED = Status("failed", 30036)
"""It waited for longer than its validity period. https://www.twilio.com/docs/api/errors/30036"""
_UNDELIVERED = re.compile(r"\+55119000(300\d\d)")
_CHOSEN = {
    "+5511900000001": (Status("sent"),),
    "+5511900000002": (Status("sent"), Status("failed", 30008), Status("delivered")),
    "+5511900000003": (Status("failed", 30001),),
}
_USUAL = (Status("sent"), Status("delivered"))


def outcome(to: str) -> tuple[Status, ...]:
    """The statuses a message to this number comes to, in order."""
    if match := _UNDELIVERED.fullmatch(to):
        return (Status("sent"), Status("undelivered", int(match[1])))
    return _CHOSEN.get(to, _USUAL)


# A message as Twilio stores it, and its resource. https://www.twilio.com/docs/messaging/api/message-resource


VALID_FOR = 36_000
"""Seconds a message may wait in Twilio's queue: ten hours, unless ValidityPeriod says less."""
_WAITING = frozenset({"accepted", "queued", "sending"})


@dataclass(slots=True)
class Message:
    """One message, outbound or inbound; `history` holds every status it came to. Times are the provider's."""

    __pydantic_config__ = STRICT

    account_sid: str
    to: str
    sender: str
    body: str
    status: str
    at: AwareDatetime
    service: str | None = None
    callback: str | None = None
    direction: str = "outbound-api"
    error_code: int | None = None
    history: list[str] = field(default_factory=list)
    id: str = field(default_factory=lambda: f"SM{token_hex(16)}")
    sent_at: AwareDatetime | None = None
    updated_at: AwareDatetime | None = None
    valid_for: int = VALID_FOR

    @property
    def is_chosen(self) -> bool:
        """Whether a messaging service has chosen the sender yet; it does so after the answer."""
        return self.service is None or self.status != "accepted"

    @property
    def has_expired(self) -> bool:
        """Whether it has waited too long, and nothing more will become of it."""
        return self.error_code == EXPIRED.error_code

    def is_overdue(self, now: datetime) -> bool:
        """Whether it waits still, and may not any longer."""
        is_waiting = self.direction != "inbound" and self.status in _WAITING
        return is_waiting and now - self.at >= timedelta(seconds=self.valid_for)

    def become(self, status: Status, now: datetime) -> None:
        """Come to a status."""
        self.updated_at = now
        self.sent_at = self.sent_at or now
        self.status = status.word
        self.error_code = status.error_code
        self.history.append(status.word)

    def concerns(self, address: str) -> bool:
        """Whether it went to this number."""
        return self.to == address

    def shown(self) -> Json:
        """The message for the control API: the resource, and what the provider knows besides."""
        extra = {"id": self.id, "at": self.at.isoformat(), "status_callback": self.callback, "history": self.history}
        return {**self.resource(), **extra, "from": self.sender}

    def resource(self) -> Json:
        """The Message resource; numbers are strings there."""
        uri = f"/2010-04-01/Accounts/{self.account_sid}/Messages/{self.id}"
        return {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": _moment(self.at),
            "date_sent": _moment(self.sent_at),
            "date_updated": _moment(self.updated_at or self.at),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender if self.is_chosen else None,
            "messaging_service_sid": self.service,
            "num_media": "0",
            "num_segments": str(count_segments(self.body).segments if self.is_chosen else 0),
            "price": None,
            "price_unit": "USD" if self.is_chosen else None,
            "sid": self.id,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else format_datetime(at)


# The state of the simulated Twilio; it can be exported and imported.


def _by_their_ids(messages: dict[str, Message]) -> dict[str, Message]:
    if any(key != message.id for key, message in messages.items()):
        raise ValueError("every message is kept under its own id")
    return messages


@dataclass(slots=True)
class State:
    """Messages by id, and who wants no more of them: (customer, our number)."""

    __pydantic_config__ = STRICT

    messages: Annotated[dict[str, Message], AfterValidator(_by_their_ids)] = field(default_factory=dict)
    opted_out: list[tuple[str, str]] = field(default_factory=list)

    def opt_out(self, customer: str, ours: str) -> None:
        """Note that a customer wants no more."""
        if (customer, ours) not in self.opted_out:
            self.opted_out.append((customer, ours))

    def opt_in(self, customer: str, ours: str) -> None:
        """Note that they want messages again."""
        self.opted_out = [pair for pair in self.opted_out if pair != (customer, ours)]

    def sent(self, message_id: str | None = None) -> Message | None:
        """An outbound message; the newest when none is named."""
        outbound = (one for one in reversed(self.messages.values()) if one.direction != "inbound")
        return next((one for one in outbound if message_id in (None, one.id)), None)


# The requests of the control API for the simulated Twilio.


Number = Annotated[str, matching(r"\+?[0-9]{3,15}", "write a number of 3 to 15 digits, like +55 11 98765-4321")]


def _bare(number: object) -> object:
    return re.sub(r"[ ().-]", "", number) if isinstance(number, str) else number


class InboundOrder(BaseModel, frozen=True, extra="forbid"):
    """A customer writes to one of our numbers."""

    sender: Number
    text: str = Field(max_length=1600)
    recipient: str | None = None


class ReportOrder(BaseModel, frozen=True, extra="forbid"):
    """Something becomes of a message."""

    status: Literal["queued", "sending", "sent", "delivered", "undelivered", "failed"]
    code: int | None = Field(None, ge=10000, le=99999)


class WritesOrder(InboundOrder, frozen=True):
    """The same for an event: Ana writes, unless another person is named, in any way people write numbers."""

    sender: Annotated[Number, BeforeValidator(_bare)] = "+5511987654321"
    text: str = Field("Oi! Já saiu o meu pedido?", max_length=1600)


class FailsOrder(AboutOrder, frozen=True):
    """A message does not arrive, for one of Twilio's reasons."""

    code: int = Field(30003, ge=10000, le=99999)
