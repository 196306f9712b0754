"""The state of the simulated WhatsApp: people, messages, outcomes by recipient, and the requests that control it."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Annotated, Any, Literal

import phonenumbers
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from core.brazil import full_form, variants
from integrations.simulating.provider import STRICT, Json
from integrations.simulating.webhooks import AboutOrder, matching
from integrations.whatsapp.simulator.account import Conditions
from integrations.whatsapp.simulator.templates import first_templates

WINDOW = timedelta(hours=24)
NUMBER_SHOWN = timedelta(days=30)
"""How long a person with a user name shows a number that was used between them and us."""
_FIRST_AREA_WITHOUT_THE_9 = 31
_USER_ID = re.compile(r"[A-Z]{2}\.1(\d{15})")


@dataclass(slots=True)
class Customer:
    """One person, by the digits of their number in full."""

    __pydantic_config__ = STRICT

    digits: Annotated[str, Field(pattern=r"^[1-9]\d{6,14}$")]
    name: str = "Cliente"
    username: str | None = None
    wrote_at: AwareDatetime | None = None
    number_used_at: AwareDatetime | None = None
    paced_until: AwareDatetime | None = None
    """Until when the limit of messages to one person is used up."""

    @property
    def wa_id(self) -> str:
        """The name of the account: accounts older than the ninth digit, here those from area 31 on, lack it."""
        is_old = self.digits.startswith("55") and int(self.digits[2:4]) >= _FIRST_AREA_WITHOUT_THE_9
        return min(variants(self.digits), key=len) if is_old else self.digits

    @property
    def user_id(self) -> str:
        """The person's id within our business; a real one says nothing of the number."""
        return f"{_country(self.digits)}.1{self.digits:0>15}"

    def window_is_open(self, now: datetime) -> bool:
        """Whether they wrote less than 24 hours ago, so that anything may be said to them."""
        return self.wrote_at is not None and now - self.wrote_at < WINDOW

    def shows_number(self, now: datetime) -> bool:
        """Whether webhooks name their number."""
        recently = self.number_used_at is not None and now - self.number_used_at < NUMBER_SHOWN
        return self.username is None or recently

    def contact(self, now: datetime) -> Json:
        """The person as webhooks introduce them."""
        profile = {"name": self.name} | ({"username": self.username} if self.username else {})
        number = {"wa_id": self.wa_id} if self.shows_number(now) else {}
        return {"profile": profile, **number, "user_id": self.user_id}


def digits_of(address: str) -> str | None:
    """The number, in full, behind any way to write it or behind a user id; None where there is none."""
    if match := _USER_ID.fullmatch(address):
        return match[1].lstrip("0")
    bare = re.sub(r"[ ().-]", "", address).removeprefix("+")
    return full_form(bare) if re.fullmatch(r"[1-9]\d{6,14}", bare) else None


def first_customers(now: datetime) -> dict[str, Customer]:
    """Two who have just written: Ana, and Bia, who has a user name and shows no number."""
    ana = Customer("5511987654321", "Ana", wrote_at=now)
    bia = Customer("5511900000004", "Bia", "bia.souza", wrote_at=now)
    return {one.digits: one for one in (ana, bia)}


def _country(digits: str) -> str:
    for length in (1, 2, 3):
        region = phonenumbers.region_code_for_country_code(int(digits[:length]))
        if region != "ZZ":
            return region if len(region) == 2 else "XX"
    return "XX"


# What becomes of a message, decided by its recipient, so that a test or a person can choose.
#
# +55 11 90 131026 0     taken, and then failed with 131026; so too with every other code of six digits
# +55 11 90 131026 1     refused at once with that code
# +55 11 90 131026 2     taken, failed with that code, and then delivered all the same: on another device
# +55 11 90000 0001      sent, and never a word from the handset
# +55 11 90000 0002      sent and read; that it was delivered is never reported
# +55 11 90000 0003      sent, delivered, read
# +55 11 90000 0005      a template is held for a quality assessment, then sent and delivered
# +55 11 90000 0006      a template is answered as paused, and never sent
# anybody else           sent, delivered; and read where the conditions say so


_BY_CODE = re.compile(r"551190([1-9]\d{5})([012])")
_REFUSED, _FAILED_FIRST = "1", "2"


@dataclass(frozen=True, slots=True)
class Status:
    """One status a message comes to."""

    word: str
    error_code: int | None = None


SENT, DELIVERED, READ = Status("sent"), Status("delivered"), Status("read")
_CHOSEN: Mapping[str, tuple[Status, ...]] = {
    "5511900000001": (SENT,),
    "5511900000002": (SENT, READ),
    "5511900000003": (SENT, DELIVERED, READ),
}
PAUSED = "paused"
_TEMPLATE_STATUSES = {"5511900000005": "held_for_quality_assessment", "5511900000006": PAUSED}


def refused_with(digits: str) -> int | None:
    """The code a message to this number is refused with at once, if any."""
    match = _BY_CODE.fullmatch(digits)
    return int(match[1]) if match and match[2] == _REFUSED else None


def outcome(digits: str, conditions: Conditions) -> tuple[Status, ...]:
    """The statuses a message to this number comes to, in order."""
    if match := _BY_CODE.fullmatch(digits):
        failed = Status("failed", int(match[1]))
        return (SENT, failed, DELIVERED) if match[2] == _FAILED_FIRST else (failed,)
    if (chosen := _CHOSEN.get(digits)) is not None:
        return chosen
    return (SENT, *((DELIVERED,) * conditions.delivers), *((READ,) * conditions.reads))


def template_status(digits: str) -> str:
    """What the answer says of a template to this number."""
    return _TEMPLATE_STATUSES.get(digits, "accepted")


# A message as the simulated WhatsApp stores it, and its ids in webhooks.


@dataclass(slots=True)
class Message:
    """One message, outbound or inbound; `content` is the object named like its kind, `history` every status."""

    __pydantic_config__ = STRICT

    id: str
    at: AwareDatetime
    direction: str
    customer: str
    """The digits of the person's number."""
    our_id: str
    """The id of our number."""
    kind: str
    content: Json
    text: str
    """What the reader sees."""
    to: str
    """The recipient as they were addressed."""
    status: str
    reference: str | None = None
    reply_to: str | None = None
    pricing: Json | None = None
    is_outside_window: bool = False
    """Whether the person had not written for 24 hours when it was sent."""
    error_code: int | None = None
    history: list[str] = field(default_factory=list)

    def become(self, status: Status) -> None:
        """Come to a status."""
        self.status, self.error_code = status.word, status.error_code
        self.history.append(status.word)

    def concerns(self, address: str) -> bool:
        """Whether it went to this number, however written, or to this user id."""
        wanted = self.our_id if self.direction == "inbound" else self.customer
        return wanted in (address, digits_of(address))

    def shown(self) -> Json:
        """The message for the control API."""
        ours, theirs = self.our_id, f"+{self.customer}"
        return {
            "id": self.id,
            "at": self.at.isoformat(),
            "direction": self.direction,
            "from": theirs if self.direction == "inbound" else ours,
            "to": ours if self.direction == "inbound" else theirs,
            "addressed_as": self.to,
            "kind": self.kind,
            "text": self.text,
            "content": self.content,
            "status": self.status,
            "history": self.history,
            "error_code": self.error_code,
            "reference": self.reference,
            "reply_to": self.reply_to,
        }


def new_id(customer: Customer) -> str:
    """A message's id; Meta's hold the person's number, too."""
    name = customer.wa_id.encode()
    inside = (
        b"\x1c\x18" + bytes([len(name)]) + name + b"\x15\x02\x00\x11\x18\x12" + token_hex(9).upper().encode() + b"\x00"
    )
    return f"wamid.{b64encode(inside).decode()}"


# The state of the simulated WhatsApp; it can be exported and imported.


class _Template(BaseModel):
    """What every template has, besides whatever Meta adds."""

    id: str = Field(pattern="^[0-9]{1,20}$")
    name: str
    language: str
    status: str
    category: str
    components: list[Json]


class _Waiting(BaseModel, extra="forbid"):
    """A report with the people it introduces."""

    contacts: list[Json]
    status: Json


def _like_a_template(one: Json) -> Json:
    _Template.model_validate(one)
    return one


def _like_a_report(one: Json) -> Json:
    _Waiting.model_validate(one)
    if not all(isinstance(contact.get("user_id"), str) for contact in one["contacts"]):
        raise ValueError("everybody in contacts has a user_id")
    return one


def _by_their_ids(messages: dict[str, Message]) -> dict[str, Message]:
    if any(key != message.id for key, message in messages.items()):
        raise ValueError("every message is kept under its own id")
    return messages


def _by_their_digits(customers: dict[str, Customer]) -> dict[str, Customer]:
    if any(key != customer.digits for key, customer in customers.items()):
        raise ValueError("everybody is kept under their own digits")
    return customers


@dataclass(slots=True)
class State:
    """Messages by id, people by number, templates, circumstances, and reports waiting to fill a webhook."""

    __pydantic_config__ = STRICT

    customers: Annotated[dict[str, Customer], AfterValidator(_by_their_digits)]
    messages: Annotated[dict[str, Message], AfterValidator(_by_their_ids)] = field(default_factory=dict)
    templates: list[Annotated[Json, AfterValidator(_like_a_template)]] = field(default_factory=first_templates)
    conditions: Conditions = field(default_factory=Conditions)
    waiting: list[Annotated[Json, AfterValidator(_like_a_report)]] = field(default_factory=list)

    @classmethod
    def first_day(cls, now: datetime) -> "State":
        """Nothing written but what the first customers have."""
        return cls(first_customers(now))

    def customer(self, digits: str) -> Customer:
        """The person with this number, a new one if need be."""
        return self.customers.setdefault(digits, Customer(digits))

    def sent(self, message_id: str | None = None) -> Message | None:
        """A message that was sent; the newest when none is named."""
        outbound = (one for one in reversed(self.messages.values()) if one.direction == "outbound")
        return next((one for one in outbound if message_id in (None, one.id)), None)


# The requests of the control API for the simulated WhatsApp.


SENDER = "write a number with its country code, like +55 11 98765-4321, or a WhatsApp user id"
Sender = Annotated[str, matching(r"[^\x00-\x1f]{3,64}", SENDER)]
Kind = Annotated[str, matching("[a-z_]{1,32}", "write a kind of message in small letters, like text or image")]


class InboundOrder(BaseModel, frozen=True, extra="forbid"):
    """A person writes to our number: `sender` is a number or a user id, `text` the words of whatever `kind`.

    `content` takes the place of the object named like the kind, for unknown kinds and fields.
    """

    sender: Sender
    text: str | None = Field(None, max_length=4096)
    recipient: str | None = None
    kind: Kind = "text"
    reply_to: str | None = None
    name: str | None = Field(None, max_length=64)
    username: str | None = Field(None, max_length=64)
    content: Json | None = None


class ReportOrder(BaseModel, frozen=True, extra="forbid"):
    """Something becomes of a message."""

    status: Literal["sent", "delivered", "read", "played", "failed"]
    code: int | None = Field(None, ge=0, le=999_999)


class TemplateOrder(BaseModel, frozen=True, extra="forbid"):
    """A template comes to another state: all its languages, or one."""

    name: str
    language: str | None = None
    status: Literal["APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED"]


class ChangeOrder(BaseModel, frozen=True, extra="forbid"):
    """A webhook of any content; `value` goes out as it is, signed."""

    field: str = "messages"
    value: Any


class WritesOrder(BaseModel, frozen=True, extra="forbid"):
    """For an event: Ana writes, unless another person is named; `message` is the one of ours that she answers."""

    sender: Sender = "+5511987654321"
    text: str = Field("Oi! Já saiu o meu pedido?", max_length=4096)
    message: str | None = Field(None, max_length=256)
    kind: Kind = "text"
    name: str | None = Field(None, max_length=64)
    username: str | None = Field(None, max_length=64)

    def as_inbound(self) -> InboundOrder:
        """The same as the control API takes it."""
        return InboundOrder(reply_to=self.message, **self.model_dump(exclude={"message"}))


class FailsOrder(AboutOrder, frozen=True):
    """A message does not arrive, for one of Meta's reasons."""

    code: int = Field(131026, ge=0, le=999_999)


class TemplateEventOrder(BaseModel, frozen=True, extra="forbid"):
    """Meta changes its mind about a template."""

    template: str = Field("appointment_reminder", max_length=512)
    language: str | None = Field(None, max_length=16)
