"""The account the simulated Twilio knows: who may come in, which senders it owns, where it reports inbound messages."""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest

from integrations.simulating.company import Json

# The magic sender: the number of an account nobody configured. https://www.twilio.com/docs/iam/test-credentials
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
