"""Where errors link to: every code explained, in the reader's language."""

from base64 import b64encode
from hashlib import sha256
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.i18n.catalogue import DOCS, language_for
from api.i18n.reference import STYLE, as_html
from api.negotiation import languages_of

_STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
_HEADERS = {
    "vary": "accept-language",
    "cache-control": "public, max-age=3600",
    "x-content-type-options": "nosniff",
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


def errors_route() -> HTTPRouteHandler:
    """Give the route of the page."""

    @get(DOCS, include_in_schema=False)
    async def errors(request: Request[Any, Any, Any]) -> Response[str]:
        wanted = request.query_params.get("lang") or request.headers.get("accept-language")
        language = language_for(languages_of(wanted))
        headers = {**_HEADERS, "content-language": language}
        return Response(as_html(language), media_type="text/html", headers=headers)

    return errors
