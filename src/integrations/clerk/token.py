"""Taking a token apart, strictly: one spelling, no field twice, no key of its own, RS256 or nothing.

https://www.rfc-editor.org/rfc/rfc7515, https://www.rfc-editor.org/rfc/rfc8725
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from core.ports import TokenFault
from integrations.clerk.refusals import refusal

Json = Mapping[str, Any]

LONGEST = 8_192
"""Characters of a token: Clerk's fit into a cookie, half as long."""
SESSION = "cl_B7d4PD111AAA"
"""The category of a session's token; the others are templates (222) and machines (333)."""

_PART = re.compile("[A-Za-z0-9_-]+")
_KEY_ID = re.compile("[A-Za-z0-9_.=-]{1,128}")
# A key that comes with the token proves nothing; what `crit` names would have to be understood; `b64` and `zip` change
# what is signed; `enc` and `cty` belong to other kinds of token.
_FORBIDDEN = frozenset({"jwk", "jku", "x5c", "x5u", "x5t", "x5t#S256", "crit", "b64", "zip", "enc", "cty"})


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token whose signature nobody has looked at yet: what it says, and what would have to be signed."""

    key_id: str | None
    claims: Json = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def take_apart(token: str) -> SignedToken:
    """Read a token; raises InvalidToken for anything Clerk would not have written."""
    if len(token) > LONGEST:
        raise refusal(TokenFault.TOO_LARGE)
    parts = token.split(".")
    if len(parts) != 3:
        raise refusal(TokenFault.MALFORMED)
    header, claims = _object(parts[0]), _object(parts[1])
    _check_header(header)
    return SignedToken(header.get("kid"), claims, f"{parts[0]}.{parts[1]}".encode("ascii"), _bytes(parts[2]))


def _check_header(header: Json) -> None:
    if header.get("alg") != "RS256":
        raise refusal(TokenFault.ALGORITHM)
    if header.keys() & _FORBIDDEN:
        raise refusal(TokenFault.HEADER)
    if "kid" in header and not (isinstance(header["kid"], str) and _KEY_ID.fullmatch(header["kid"])):
        raise refusal(TokenFault.HEADER)
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT" or header.get("cat", SESSION) != SESSION:
        raise refusal(TokenFault.NOT_A_SESSION)


def _object(part: str) -> Json:
    try:
        value = json.loads(_bytes(part).decode("utf-8"), object_pairs_hook=_once_each, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise refusal(TokenFault.MALFORMED) from None
    if not isinstance(value, dict):
        raise refusal(TokenFault.MALFORMED)
    return value


def _bytes(part: str) -> bytes:
    """Decode base64url in its one spelling: Python's own decoder overlooks foreign letters and spare bits."""
    if not _PART.fullmatch(part):
        raise refusal(TokenFault.MALFORMED)
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise refusal(TokenFault.MALFORMED) from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise refusal(TokenFault.MALFORMED)
    return data


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of a name that stands twice one reader takes the first and another the last.
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(_: str) -> NoReturn:
    raise ValueError("no JSON")
