"""Where errors link to: every code explained, in the reader's language."""

from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from api.i18n.catalogue import DOCS, language_for
from api.i18n.reference import as_html
from api.negotiation import languages_of

_HEADERS = {
    "vary": "accept-language",
    "cache-control": "public, max-age=3600",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


def errors_route() -> HTTPRouteHandler:
    """Give the route of the page."""

    @get(DOCS, include_in_schema=False)
    async def errors(request: Request[Any, Any, Any]) -> Response[str]:
        language = language_for(languages_of(request.headers.get("accept-language")))
        headers = {**_HEADERS, "content-language": language}
        return Response(as_html(language), media_type="text/html", headers=headers)

    return errors
