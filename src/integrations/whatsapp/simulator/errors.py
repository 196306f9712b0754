"""Meta's errors: their numbers, words and HTTP statuses. https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes"""

from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_urlsafe

from integrations.simulating.company import Json

DOCS = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"

_WORDS: Mapping[int, tuple[int, str]] = {
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
        return self.status or _WORDS.get(self.code, (400, ""))[0]

    @property
    def title(self) -> str:
        return self.text or _WORDS.get(self.code, (400, "Generic error"))[1]

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
