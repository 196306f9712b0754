"""Checks whether Meta accepts our credentials, and the state of our number.

https://developers.facebook.com/docs/graph-api/reference/whats-app-business-account-to-number-current-status
https://developers.facebook.com/docs/graph-api/reference/debug_token
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from core.errors import OutcomeUnknown, ProviderError, ProviderUnavailable
from core.ports import Finding, Severity
from integrations.whatsapp.adapter import GraphApi
from integrations.whatsapp.payloads import Json, list_under, number_under, object_under, text_under
from integrations.whatsapp.settings import Settings

log = structlog.get_logger(__name__)

SEND, MANAGE = "whatsapp_business_messaging", "whatsapp_business_management"
# Permission → what cannot be done without it.
_NEEDED: Mapping[str, str] = {SEND: "nothing can be sent", MANAGE: "templates cannot be listed"}
SOON = timedelta(days=7)
"""How long before its end an access token is reported."""
_MANAGER = "Open WhatsApp Manager > Phone numbers."
_TOKEN = "Make a new token of the system user, under Business settings > System users: see WHATSAPP_ACCESS_TOKEN."  # noqa: S105


class WhatsAppProbe:
    """Reads our number, and the token's description where Meta shows it; sends nothing."""

    def __init__(self, settings: Settings, graph: GraphApi) -> None:
        self._graph = graph
        self._number_id = settings.phone_number_id

    async def check(self) -> Sequence[Finding]:
        try:
            found = await self._graph.get("probe", self._number_id, fields="status,quality_rating,name_status")
        except ProviderError as error:
            return [_refused(error)]
        return [*_about_number(found), *_about_token(await self._token())]

    async def _token(self) -> Json:
        """Return Meta's description of our token; an empty one where the token may not read it."""
        try:
            return object_under(await self._graph.get("probe", "debug_token", input_token=self._graph.token), "data")
        except ProviderError as error:
            log.info("whatsapp_token_not_described", reason=error.message, provider_code=error.provider_code)
            return {}


def _refused(error: ProviderError) -> Finding:
    if isinstance(error, ProviderUnavailable | OutcomeUnknown):
        return Finding("WHATSAPP_UNREACHABLE", Severity.CRITICAL, error.message, "See metastatus.com.")
    fix = (
        "Compare WHATSAPP_ACCESS_TOKEN and WHATSAPP_PHONE_NUMBER_ID with WhatsApp > API setup, "
        "and WHATSAPP_APP_SECRET_PROOF with App settings > Advanced."
    )
    return Finding("WHATSAPP_REFUSES_US", Severity.CRITICAL, error.message, fix)


def _about_number(found: Json) -> Iterator[Finding]:
    status, quality = text_under(found, "status"), text_under(found, "quality_rating")
    if status not in (None, "CONNECTED"):
        detail = f"The number's status is {status}, not CONNECTED."
        yield Finding("WHATSAPP_NUMBER_NOT_CONNECTED", Severity.CRITICAL, detail, _MANAGER)
    if quality in ("YELLOW", "RED"):
        detail = f"The number's quality is {quality}: people block its messages or report them."
        yield Finding(
            "WHATSAPP_QUALITY_LOW",
            Severity.WARNING,
            detail,
            f"{_MANAGER} Send fewer messages that recipients did not ask for.",
        )


def _about_token(token: Json) -> Iterator[Finding]:
    if token.get("is_valid") is False:
        yield Finding("WHATSAPP_TOKEN_INVALID", Severity.CRITICAL, "Meta calls the access token invalid.", _TOKEN)
    # 0 means never.
    if ends := number_under(token, "expires_at"):
        at = datetime.fromtimestamp(ends, UTC)
        if at - datetime.now(UTC) < SOON:
            yield Finding(
                "WHATSAPP_TOKEN_EXPIRES", Severity.WARNING, f"The access token ends at {at:%Y-%m-%dT%H:%M:%SZ}.", _TOKEN
            )
    scopes = list_under(token, "scopes")
    for permission, consequence in _NEEDED.items():
        if scopes and permission not in scopes:
            detail = f"The access token lacks {permission}: {consequence}."
            yield Finding("WHATSAPP_PERMISSION_MISSING", Severity.CRITICAL, detail, _TOKEN)
