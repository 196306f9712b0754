"""The requests of the control API for the simulated Clerk."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from integrations.simulating.provider import Json
from integrations.simulating.webhooks import matching


def _split_list(given: object) -> object:
    """Take what a command line can say, too: names with commas between them."""
    return given.split(",") if isinstance(given, str) else given


UserId = Annotated[str, matching("user_[A-Za-z0-9]{1,64}", "write it as user_ and letters or digits, like user_Ana")]
OrganizationId = Annotated[str, matching("org_[A-Za-z0-9]{1,64}", "write it as org_ and letters or digits: org_Loja")]
Slug = Annotated[str, matching("[a-z0-9-]{1,64}", "write it with small letters, digits and dashes, like loja-da-ana")]
Role = Annotated[str, matching("org:[a-z0-9_-]{1,64}", "write it as org: and a name in small letters, like org:admin")]
_PERMISSION = matching("org:[a-z0-9_-]{1,64}:[a-z0-9_-]{1,64}", "write it like org:messages:read")
Permissions = Annotated[list[Annotated[str, _PERMISSION]], BeforeValidator(_split_list)]


class Order(BaseModel, frozen=True, extra="forbid"):
    """`tell` is whether a webhook goes out."""

    tell: bool = True


class UserOrder(Order, frozen=True):
    """A person signs up, or changes their profile."""

    id: UserId | None = None
    first_name: str | None = Field(None, max_length=64)
    last_name: str | None = Field(None, max_length=64)
    email: str | None = Field(None, max_length=254)


class OrganizationOrder(Order, frozen=True):
    """A business is founded, or renamed."""

    id: OrganizationId | None = None
    name: str = Field("Padaria do Zé", max_length=256)
    slug: Slug | None = None


class UserEventOrder(UserOrder, frozen=True):
    """For an event: Ana, unless another person is named."""

    id: UserId | None = "user_Ana"


class OrganizationEventOrder(OrganizationOrder, frozen=True):
    """For an event: Ana's shop, unless another business is named."""

    id: OrganizationId | None = "org_Loja"
    name: str = Field("Loja da Ana", max_length=256)


class MemberOrder(Order, frozen=True):
    """A person joins a business, or comes to another role there."""

    user: str = "user_Ana"
    organization: str = "org_Loja"
    role: Role = "org:member"
    permissions: Permissions = Field(default_factory=list)


class UserReference(Order, frozen=True):
    """A person."""

    user: str = "user_Ana"


class BanOrder(UserReference, frozen=True):
    """A person is banned, or with `banned` false let in again."""

    banned: bool = True


class OrganizationReference(Order, frozen=True):
    """A business."""

    organization: str = "org_Loja"


class MemberReference(Order, frozen=True):
    """A person in a business."""

    user: str = "user_Bia"
    organization: str = "org_Loja"


class SignInOrder(BaseModel, frozen=True, extra="forbid"):
    """A person signs in, and chooses their first business unless another, or with `personal` none."""

    user: str = "user_Ana"
    organization: str | None = None
    personal: bool = False
    origin: str | None = "http://localhost:3000"
    lifetime: int = Field(60, ge=-86_400, le=366 * 86_400)
    pending: bool = False


class TokenOrder(BaseModel, frozen=True, extra="forbid"):
    """A page fetches a fresh token for its session."""

    session: str
    lifetime: int = Field(60, ge=-86_400, le=366 * 86_400)


class RevokeOrder(Order, frozen=True):
    """A session ends before its time; the newest when none is named."""

    session: str | None = None


class RotateOrder(BaseModel, frozen=True, extra="forbid"):
    """A new key signs from now on; `withdraw` takes the old ones away at once."""

    withdraw: bool = False


class EmitOrder(BaseModel, frozen=True, extra="forbid"):
    """A webhook of any content; `data` goes out as it is, signed. `age` makes it so many seconds old."""

    type: str = Field(max_length=128)
    data: Any = None
    age: int = Field(0, ge=-86_400, le=86_400)


class MintOrder(BaseModel, frozen=True, extra="forbid"):
    """A token of any content, signed with the key of the day."""

    claims: Json
    header: Json = Field(default_factory=dict)
