"""The instance the simulated Clerk knows: what signs in to it, its issuer, where it reports and how it signs."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest

from integrations.clerk.keys import frontend_host

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
