"""The account of the simulated WhatsApp: its condition, access token and number, and Meta's errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest
from hmac import new as new_hmac
from secrets import token_urlsafe
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from integrations.simulating.provider import Json


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


# The business account: its number, its credentials, and where it sends webhooks.


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
        """Whether the caller knows one of the app secrets besides the token."""
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


# Meta's errors: numbers, texts and HTTP statuses.


DOCS = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"

_ERROR_MESSAGES: Mapping[int, tuple[int, str]] = {
    0: (401, "Authentication Error"),
    1: (400, "API Unknown"),
    2: (503, "API Service"),
    3: (403, "API Method"),
    4: (429, "API Too Many Calls"),
    10: (403, "Permission denied"),
    33: (400, "Parameter value is not valid"),
    100: (400, "Invalid parameter"),
    190: (401, "Error validating access token"),
    200: (403, "Permissions error"),
    368: (403, "Temporarily blocked for policies violations"),
    2500: (400, "Unknown path components"),
    80007: (429, "Rate limit issues"),
    130429: (429, "Rate limit hit"),
    130472: (400, "User's number is part of an experiment"),
    130497: (403, "Business account is restricted from messaging users in this country."),
    131000: (500, "Something went wrong"),
    131005: (403, "Access denied"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131016: (503, "Service unavailable"),
    131021: (400, "Recipient cannot be sender"),
    131026: (400, "Message undeliverable"),
    131030: (400, "Recipient phone number not in allowed list"),
    131031: (403, "Account has been locked"),
    131037: (400, "WhatsApp provided number needs display name approval before message can be sent."),
    131042: (400, "Business eligibility payment issue"),
    131044: (400, "Business eligibility payment issue"),
    131045: (500, "Incorrect certificate"),
    131047: (400, "Re-engagement message"),
    131048: (429, "Spam rate limit hit"),
    131049: (400, "This message was not delivered to maintain healthy ecosystem engagement."),
    131050: (400, "Unable to deliver the message. This recipient has chosen to stop receiving marketing messages."),
    131051: (400, "Unsupported message type"),
    131052: (400, "Media download error"),
    131053: (400, "Media upload error"),
    131056: (429, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: (500, "Account in maintenance mode"),
    131062: (400, "Business-scoped user ID is not supported for this message"),
    131063: (400, "Business-scoped user ID is not supported"),
    132000: (400, "Number of parameters does not match the expected number of params"),
    132001: (404, "Template name does not exist in the translation"),
    132005: (400, "Translated text too long"),
    132007: (400, "Template format character policy violated"),
    132008: (400, "Template parameter value is not valid"),
    132012: (400, "Parameter format does not match format in the created template"),
    132015: (400, "Template is paused"),
    132016: (400, "Template is disabled"),
    132068: (400, "Flow is in blocked state"),
    132069: (400, "Flow is in throttled state"),
    133004: (503, "Server temporarily unavailable"),
    133010: (400, "Phone number not registered"),
    135000: (400, "Generic user error"),
    137000: (400, "Recipient identity key hash mismatch"),
}


@dataclass(frozen=True, slots=True)
class MetaError:
    """One refusal; `text` takes the place of Meta's words, `details` says more."""

    code: int
    details: str = ""
    subcode: int | None = None
    status: int | None = None
    text: str | None = None

    @property
    def http_status(self) -> int:
        return self.status or _ERROR_MESSAGES.get(self.code, (400, ""))[0]

    @property
    def title(self) -> str:
        return self.text or _ERROR_MESSAGES.get(self.code, (400, "Generic error"))[1]

    def shown(self) -> Json:
        """The error as an answer words it."""
        is_bare = self.code == 190 or self.subcode is not None
        error: Json = {
            "message": self.title if is_bare else f"(#{self.code}) {self.title}",
            "type": "OAuthException",
            "code": self.code,
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        return {"error": error | {"fbtrace_id": token_urlsafe(10)}}

    def reported(self) -> Json:
        """The error as a report of a failed message words it."""
        return {
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": {"details": self.details or self.title},
            "href": DOCS,
        }


# The access token of the simulated account: whether it is valid, its permissions, and how Meta describes it.
#
# https://developers.facebook.com/docs/graph-api/reference/debug_token


_EXPIRED = "Error validating access token: Session has expired."
_WITHDRAWN = "Error validating access token: The session has been invalidated."
_NOT_OURS = "Invalid OAuth access token - Cannot parse access token"
_PROOF_WRONG = "Invalid appsecret_proof provided in the API argument"
_PROOF_NEEDED = "API calls from the server require an appsecret_proof argument"


def token_refusal(
    account: Account, conditions: Conditions, request: web.Request, permission: Permission | None
) -> MetaError | None:
    """Why a request is not let in, if it is not."""
    if not account.admits(request.headers.get("Authorization", "")):
        return MetaError(190, text=_NOT_OURS)
    if conditions.token == "expired":  # noqa: S105
        return MetaError(190, subcode=463, text=_EXPIRED)
    if conditions.token == "withdrawn":  # noqa: S105
        return MetaError(190, subcode=460, text=_WITHDRAWN)
    proof = request.query.get("appsecret_proof")
    if proof is not None and not account.is_proof(proof):
        return MetaError(100, text=_PROOF_WRONG)
    if proof is None and conditions.requires_proof:
        return MetaError(100, text=_PROOF_NEEDED)
    if permission is not None and permission not in conditions.permissions:
        code = 10 if permission is Permission.SEND else 200
        return MetaError(code, f"Requires {permission}", text="Application does not have permission for this action")
    return None


def token_shown(account: Account, conditions: Conditions, given: str) -> Json:
    """What Meta says of a token."""
    if given != account.token:
        error = {"code": 190, "message": _NOT_OURS}
        return {"data": {"error": error, "is_valid": False, "scopes": []}}
    return {
        "data": {
            "app_id": "300000000000003",
            "type": "SYSTEM_USER",
            "application": "Simulated app",
            "expires_at": 0,
            "is_valid": conditions.token == "valid",  # noqa: S105
            "scopes": list(conditions.permissions),
        }
    }
