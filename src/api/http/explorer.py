"""The Explorer at /graphiql/: GraphiQL served from our own files, with a content security policy for this host only."""

from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.bootstrap import App
from api.pages import GRAPHIQL
from core.settings.addresses import is_loopback

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        # The editor sets styles as it goes, on elements and by adding some.
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self'",
        "img-src 'self' data:",
        # Includes the socket of the same host.
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# Not asked of the system, which may hold another opinion and so break the page.
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
}
_UNBUILT = GRAPHIQL.with_name("unbuilt.html")
# A proxy or a tunnel on this machine makes strangers look like neighbours.
_TRACES_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")

AnyRequest = Request[Any, Any, Any]


def explorer_routes(app: App, built: Path = GRAPHIQL) -> list[HTTPRouteHandler]:
    """Give the routes of the Explorer: none where it is off, and the one at / in development only."""
    if not app.settings.has_explorer:
        return []

    @get("/graphiql", include_in_schema=False, sync_to_thread=True)
    def page(request: AnyRequest) -> Response[bytes]:
        if not request.scope["raw_path"].endswith(b"/"):
            # Everything in it is named relative to the folder.
            return Response(b"", status_code=307, headers={"location": "graphiql/"})
        if not (built / "index.html").is_file():
            return _file(_UNBUILT, "no-store", status=503)
        return _file(built / "index.html", "no-cache")

    @get("/graphiql/assets/{name:str}", include_in_schema=False, sync_to_thread=True)
    def asset(name: FromPath[str]) -> Response[bytes]:
        # The name holds a hash of what is inside, so what is inside never changes.
        return _file(built / "assets" / Path(name).name, "public, max-age=31536000, immutable")

    @get("/graphiql/LICENSES.txt", include_in_schema=False, sync_to_thread=True)
    def licences() -> Response[bytes]:
        return _file(built / "LICENSES.txt", "no-cache")

    @get("/graphiql/config.json", include_in_schema=False, sync_to_thread=False)
    def config(request: AnyRequest) -> Response[dict[str, str | None]]:
        token = app.tokens.make() if app.tokens and _comes_from_this_machine(request) else None
        return Response({"token": token}, headers={**_HEADERS, "cache-control": "no-store"})

    @get("/", include_in_schema=False, sync_to_thread=False)
    def start() -> Response[bytes]:
        return Response(b"", status_code=307, headers={"location": "graphiql/"})

    return [page, asset, licences, config, *([] if app.settings.is_production else [start])]


def _file(path: Path, caching: str, *, status: int = 200) -> Response[bytes]:
    if not path.is_file():
        return Response(b"", status_code=404, headers=_HEADERS)
    headers = {**_HEADERS, "cache-control": caching}
    media_type = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    return Response(path.read_bytes(), status_code=status, media_type=media_type, headers=headers)


def _comes_from_this_machine(request: AnyRequest) -> bool:
    """Say whether our own page asks, in a browser on this machine, by a name that means this machine.

    A page of another site that had its name lead here would be "same-origin" too, but its host is not ours.
    """
    header = request.headers.get
    return (
        request.client is not None
        and is_loopback(request.client.host)
        and is_loopback(f"http://{header('host', '')}")
        and header("sec-fetch-site") == "same-origin"
        and not any(header(name) for name in _TRACES_OF_PROXIES)
    )
