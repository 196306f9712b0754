"""What browsers are told about pages of other origins (https://fetch.spec.whatwg.org/#http-cors-protocol).

Nothing here ever allows credentials: a page of another site brings its token itself, in a header. Cookies count for
pages of the same site alone (see `credentials`), which need no leave.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+( *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_SECONDS = 7200
_READABLE = "x-request-id, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset"
METHODS = "GET, POST, OPTIONS"


def cors_headers(headers: Mapping[str, str], allowed_origins: AbstractSet[str]) -> dict[str, str]:
    """Let a page of an allowed origin read the answer."""
    origin = headers.get("origin")
    if origin is None or origin not in allowed_origins:
        return {}
    return {"access-control-allow-origin": origin, "access-control-expose-headers": _READABLE}


def preflight_headers(headers: Mapping[str, str], allowed_origins: AbstractSet[str]) -> dict[str, str]:
    """Say what a page may send; nothing to a page of an origin that is not allowed."""
    allowed = cors_headers(headers, allowed_origins)
    if not allowed or "access-control-request-method" not in headers:
        return {}
    asked = headers.get("access-control-request-headers", "")
    if _HEADER_NAMES.fullmatch(asked):
        # A client library's own headers do no harm: whoever is not believed is refused by the token alone.
        allowed["access-control-allow-headers"] = asked
    return {**allowed, "access-control-allow-methods": METHODS, "access-control-max-age": str(_SECONDS)}
