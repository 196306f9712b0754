"""A message as Twilio keeps it, and the resource it shows. https://www.twilio.com/docs/messaging/api/message-resource"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from secrets import token_hex

from pydantic import AwareDatetime

from core.segments import count_segments
from integrations.simulating.company import Json
from integrations.simulating.memory import WHOLE
from integrations.twilio.simulator.outcomes import EXPIRED, Status

VALID_FOR = 36_000
"""Seconds a message may wait in Twilio's queue: ten hours, unless ValidityPeriod says less."""
_WAITING = frozenset({"accepted", "queued", "sending"})


@dataclass(slots=True)
class Message:
    """One message, outbound or inbound; `history` holds every status it came to. Times are the company's."""

    __pydantic_config__ = WHOLE

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
        """The message for the control API: the resource, and what the company knows besides."""
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
