"""How the simulated account is doing: what a person or a test may change about it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field


class Permission(StrEnum):
    """What an access token may be used for."""

    SEND = "whatsapp_business_messaging"
    MANAGE = "whatsapp_business_management"


class Conditions(BaseModel, frozen=True, extra="forbid"):
    """The circumstances; as they are here on the first day.

    `throughput` limits messages a second, `messaging_limit` the people written to in 24 hours outside their windows.
    `batch` is how many reports travel in one webhook. Without `delivers`, what is read was never reported delivered.
    """

    token: Literal["valid", "expired", "withdrawn"] = "valid"  # noqa: S105
    permissions: tuple[Permission, ...] = tuple(Permission)
    requires_proof: bool = False
    number_status: Literal["CONNECTED", "FLAGGED", "RESTRICTED", "PENDING", "BANNED", "DISCONNECTED"] = "CONNECTED"
    quality: Literal["GREEN", "YELLOW", "RED", "UNKNOWN"] = "GREEN"
    throughput: Annotated[int, Field(ge=0)] | None = None
    messaging_limit: Annotated[int, Field(ge=0)] | None = None
    delivers: bool = True
    reads: bool = False
    batch: Annotated[int, Field(ge=1, le=1000)] = 1
