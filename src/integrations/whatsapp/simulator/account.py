"""The business account the simulated WhatsApp knows: its number, what signs in to it, where it reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from hmac import new as new_hmac

from integrations.simulating.company import Json
from integrations.whatsapp.simulator.conditions import Conditions

NUMBER = "551140028922"


@dataclass(frozen=True, slots=True)
class Account:
    """One WhatsApp business account with one number. The first app secret signs webhooks."""

    token: str = field(repr=False)
    phone_number_id: str
    business_account_id: str
    secrets: tuple[str, ...] = field(repr=False)
    verify_token: str = field(repr=False)
    webhook_url: str
    number: str = NUMBER

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Account":
        """Read the variables that the adapter reads; what is absent is a dummy."""
        base = environment.get("PUBLIC_BASE_URL") or "http://localhost:8000"
        secrets = environment.get("WHATSAPP_APP_SECRET") or "0" * 32
        return cls(
            token=environment.get("WHATSAPP_ACCESS_TOKEN") or "EAAdummy",
            phone_number_id=environment.get("WHATSAPP_PHONE_NUMBER_ID") or "100000000000001",
            business_account_id=environment.get("WHATSAPP_BUSINESS_ACCOUNT_ID") or "200000000000002",
            secrets=tuple(secret.strip() for secret in secrets.split(",")),
            verify_token=environment.get("WHATSAPP_WEBHOOK_VERIFY_TOKEN") or "dummy-verify-token",
            webhook_url=f"{base.rstrip('/')}/webhooks/whatsapp",
        )

    def admits(self, authorization: str) -> bool:
        """Whether an Authorization header is ours."""
        return compare_digest(authorization.encode(errors="surrogateescape"), f"Bearer {self.token}".encode())

    def is_proof(self, given: str) -> bool:
        """Whether somebody knows one of the app secrets besides the token."""
        proofs = [new_hmac(secret.encode(), self.token.encode(), sha256).hexdigest() for secret in self.secrets]
        return any([compare_digest(given.encode(errors="surrogateescape"), proof.encode()) for proof in proofs])  # noqa: C419

    def metadata(self) -> Json:
        """How a webhook names the number it is about."""
        return {"display_phone_number": self.number, "phone_number_id": self.phone_number_id}

    def shown(self, conditions: Conditions) -> Json:
        """The number as the Graph API shows it."""
        return {
            "verified_name": "Loja Simulada",
            "code_verification_status": "VERIFIED",
            "display_phone_number": f"+{self.number[:2]} {self.number[2:4]} {self.number[4:8]}-{self.number[8:]}",
            "quality_rating": conditions.quality,
            "status": conditions.number_status,
            "name_status": "APPROVED",
            "account_mode": "LIVE",
            "platform_type": "CLOUD_API",
            "throughput": {"level": "STANDARD"},
            "id": self.phone_number_id,
        }
