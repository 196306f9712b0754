"""The state of the simulated Clerk: its instance, people, organisations and sessions."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hmac import compare_digest

from integrations.clerk.settings import frontend_host
from integrations.simulating.provider import STRICT, ControlRefused

# It encodes clerk.example.com.
DEFAULT_KEY = "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k"


@dataclass(frozen=True, slots=True)
class Account:
    """One instance. The first secret signs webhooks."""

    secret_key: str = field(repr=False)
    issuer: str
    webhook_secret: bytes = field(repr=False)
    webhook_url: str

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Account":
        """Read the variables that the adapter reads; what is absent is a dummy."""
        key = environment.get("NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY") or environment.get("CLERK_PUBLISHABLE_KEY")
        secrets = environment.get("CLERK_WEBHOOK_SIGNING_SECRET") or f"whsec_{'A' * 32}"
        base = environment.get("PUBLIC_BASE_URL") or "http://localhost:8000"
        return cls(
            secret_key=environment.get("CLERK_SECRET_KEY") or "sk_test_00000000000000000000dummy",
            issuer=f"https://{frontend_host(key or DEFAULT_KEY)}",
            webhook_secret=base64.b64decode(secrets.split(",")[0].strip().removeprefix("whsec_")),
            webhook_url=f"{base.rstrip('/')}/webhooks/clerk",
        )

    def admits(self, authorization: str) -> bool:
        """Whether an Authorization header is ours."""
        return compare_digest(authorization.encode(errors="surrogateescape"), f"Bearer {self.secret_key}".encode())

    def sign(self, name: str, seconds: int, body: str) -> str:
        """The svix-signature of a webhook. https://docs.svix.com/receiving/verifying-payloads/how-manual"""
        digest = hmac.digest(self.webhook_secret, f"{name}.{seconds}.{body}".encode(), "sha256")
        return f"v1,{base64.b64encode(digest).decode()}"


# The state of the simulated Clerk without its private keys; it can be exported and imported.


FIRST_DAY = datetime.fromisoformat("2026-11-23T14:00:00+00:00")


@dataclass(slots=True)
class User:
    """A person."""

    __pydantic_config__ = STRICT

    id: str
    first_name: str
    last_name: str
    email: str
    created_at: datetime
    updated_at: datetime
    banned: bool = False


@dataclass(slots=True)
class Organization:
    """A business."""

    __pydantic_config__ = STRICT

    id: str
    name: str
    slug: str
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Member:
    """A person belongs to a business."""

    __pydantic_config__ = STRICT

    id: str
    user_id: str
    organization_id: str
    role: str
    permissions: list[str]
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Session:
    """A person has signed in, at a page, and may have chosen a business."""

    __pydantic_config__ = STRICT

    id: str
    user_id: str
    organization_id: str | None
    origin: str | None
    status: str
    created_at: datetime


@dataclass(slots=True)
class State:
    """People, businesses and sessions by their ids, and who belongs where."""

    __pydantic_config__ = STRICT

    users: dict[str, User] = field(default_factory=dict)
    organizations: dict[str, Organization] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)

    def user(self, user_id: str) -> User:
        """A person; refused where there is none."""
        if user_id not in self.users:
            raise ControlRefused(f"no user {user_id}; there are {sorted(self.users)}", field="user")
        return self.users[user_id]

    def organization(self, organization_id: str) -> Organization:
        """A business; refused where there is none."""
        if organization_id not in self.organizations:
            raise ControlRefused(
                f"no organization {organization_id}; there are {sorted(self.organizations)}", field="organization"
            )
        return self.organizations[organization_id]

    def session(self, session_id: str) -> Session:
        """A session; refused where there is none."""
        if session_id not in self.sessions:
            raise ControlRefused(f"no session {session_id}", field="session")
        return self.sessions[session_id]

    def member(self, user_id: str, organization_id: str) -> Member | None:
        """How a person belongs to a business."""
        pair = (user_id, organization_id)
        return next((one for one in self.members if (one.user_id, one.organization_id) == pair), None)

    def first_of(self, user_id: str) -> str | None:
        """The business a person chooses when the order names none."""
        return next((one.organization_id for one in self.members if one.user_id == user_id), None)


def initial_state() -> State:
    """Two people of one business, the one its administrator."""
    ana = User("user_Ana", "Ana", "Souza", "ana@example.com", FIRST_DAY, FIRST_DAY)
    bia = User("user_Bia", "Bia", "Lima", "bia@example.com", FIRST_DAY, FIRST_DAY)
    shop = Organization("org_Loja", "Loja da Ana", "loja-da-ana", FIRST_DAY, FIRST_DAY)
    members = [
        Member("orgmem_Ana", ana.id, shop.id, "org:admin", [], FIRST_DAY, FIRST_DAY),
        Member("orgmem_Bia", bia.id, shop.id, "org:member", [], FIRST_DAY, FIRST_DAY),
    ]
    return State({ana.id: ana, bia.id: bia}, {shop.id: shop}, members)
