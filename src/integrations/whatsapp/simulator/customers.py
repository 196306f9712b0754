"""The people on the simulated WhatsApp: what they are called, whether they show their number, when they wrote."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

import phonenumbers
from pydantic import AwareDatetime, Field

from core.brazil import full_form, variants
from integrations.simulating.company import Json
from integrations.simulating.memory import WHOLE

WINDOW = timedelta(hours=24)
NUMBER_SHOWN = timedelta(days=30)
"""How long somebody with a user name shows a number that was used between them and us."""
_FIRST_AREA_WITHOUT_THE_9 = 31
_USER_ID = re.compile(r"[A-Z]{2}\.1(\d{15})")


@dataclass(slots=True)
class Customer:
    """One person, by the digits of their number in full."""

    __pydantic_config__ = WHOLE

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
