"""What the GraphQL handlers are given by whoever puts the application together, and what they ask of it together."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from core.errors import Unauthenticated
from engine.engine import Engine

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edge:
    """The engine, who may come in, and what resolvers are told about a caller.

    `authenticate` takes a token or None and returns the caller; it raises Unauthenticated for a token nobody here
    believes. `cookies` are the names of those that may hold one, best first. `make_context` takes caller and request id
    and is called for every operation. `introspection` says whether a caller may read the schema. `allowed_origins` are
    those of pages that may call from another site. Once `draining` is set, streams end, so that their clients come
    again elsewhere.
    """

    engine: Engine
    authenticate: Callable[[str | None], Awaitable[Any]]
    make_context: Callable[[Any, str], Any]
    allowed_origins: frozenset[str]
    introspection: Callable[[Any], bool]
    cookies: Sequence[str] = ()
    draining: asyncio.Event = field(default_factory=asyncio.Event)


def request_id_from(given: str | None) -> str:
    """Take the client's own id if it can be written anywhere without harm, or make one."""
    return given if given and _SANE_REQUEST_ID.fullmatch(given) else uuid4().hex


def bearer_token(authorization: str | None) -> str | None:
    """Read the token of an Authorization header; raises Unauthenticated for any other kind of credentials."""
    if not authorization:
        return None
    if match := _BEARER.fullmatch(authorization):
        return match[1]
    raise Unauthenticated("Send the token as 'Authorization: Bearer <token>'.")
