"""Session tokens of Clerk: a strict check of their form, PyJWT for the signature, and our rules for claims and roles.

PyJWT accepts more than one spelling of a token: padding, a name given twice, header fields not in use. So `check_form`
comes first and accepts only what Clerk writes. PyJWT's own checks of claims stay off: `identity_of` also checks
fractions of seconds, limits the lifetime, and says for each claim why it is refused. A role or permission that is in no
table gives no scope."""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidSignatureError, InvalidTokenError, PyJWT

from core.ports import ActiveOrganization, Identity, InvalidToken, Tenancy, TokenFault
from core.ports.identity import Scope
from core.settings import WrongValue
from core.words import Sentence, say

RoleScopes = Mapping[str, frozenset[Scope]]

PERSONAL = "personal"
"""The table's key for a session without an organisation."""
ALL = "*"
_ROLE = re.compile(f"org:[a-z0-9_-]{{1,128}}(:[a-z0-9_-]{{1,128}})?|{PERSONAL}")

DEFAULT: RoleScopes = {
    "org:admin": frozenset(Scope),
    "org:member": frozenset({Scope.MESSAGES_READ, Scope.MESSAGES_SEND}),
    PERSONAL: frozenset(Scope),
}


def _permission(scope: Scope) -> str:
    feature, _, verb = scope.value.lower().rpartition("_")
    return f"org:{feature}:{verb}"


# Clerk's permission → our scopes, unless the table says otherwise: org:messages:send is MESSAGES_SEND.
PERMISSIONS: RoleScopes = {_permission(scope): frozenset({scope}) for scope in Scope}


def scopes_of(organization: ActiveOrganization | None, table: RoleScopes) -> frozenset[Scope]:
    """Return what a session may do, by its role and by each permission in its token; the table may name both."""
    if organization is None:
        return table.get(PERSONAL, frozenset())
    known = {**PERMISSIONS, **table}
    granted = (known.get(one, frozenset()) for one in organization.permissions)
    return table.get(organization.role, frozenset()).union(*granted)


def read_role_scopes(given: object) -> object:
    """Read the table from its JSON; raises WrongValue, which says what is wrong with it."""
    if not isinstance(given, str):
        return given
    try:
        table = json.loads(given)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise WrongValue('is not a JSON object like {"org:admin": ["*"], "org:member": ["MESSAGES_READ"]}')
    return {role: _scopes(role, names) for role, names in table.items()}


def _scopes(role: str, names: object) -> frozenset[Scope]:
    if not _ROLE.fullmatch(role):
        raise WrongValue(f"names what is neither a role org:…, nor a permission org:…:…, nor {PERSONAL}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongValue(f"has no list of scopes for {role}")
    if ALL in names:
        return frozenset(Scope)
    if unknown := set(names) - set(Scope):
        raise WrongValue(f"names {len(unknown)} unknown scopes for {role}; there are {', '.join(Scope)} and *")
    return frozenset(Scope(name) for name in names)


# Session tokens of Clerk: a strict check of the token's form, PyJWT for the signature, and our rules for the claims.
#
# PyJWT accepts more than one spelling of a token: padding, a name given twice, header fields not in use.
# So
# `check_form` comes first and accepts only what Clerk writes. PyJWT's own checks of claims stay off: `identity_of`
# also
# checks fractions of seconds, limits the lifetime, and says for each claim why it is refused.
#
# https://clerk.com/docs/guides/sessions/session-tokens, https://www.rfc-editor.org/rfc/rfc7515
# https://www.rfc-editor.org/rfc/rfc8725


Json = Mapping[str, Any]

MAX_TOKEN_LENGTH = 8_192
"""Characters of a token: Clerk's fit into a cookie, half as long."""
SESSION_CATEGORY = "cl_B7d4PD111AAA"
"""The category of a session's token; the others are templates (222) and machines (333)."""
ALGORITHM = "RS256"

_PART = re.compile("[A-Za-z0-9_-]+")
_KEY_ID = re.compile("[A-Za-z0-9_.=-]{1,128}")
# A key that comes with the token proves nothing; what `crit` names would have to be understood; `b64` and `zip` change
# what is signed; `enc` and `cty` belong to other kinds of token.
_FORBIDDEN_HEADERS = frozenset({"jwk", "jku", "x5c", "x5u", "x5t", "x5t#S256", "crit", "b64", "zip", "enc", "cty"})
_PYJWT = PyJWT(
    {
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_aud": False,
        "verify_iss": False,
        "verify_sub": False,
        "verify_jti": False,
    }
)

# One sentence for all of these: a caller who tries keys must not learn how far a token came.
_OTHER_INSTANCE = say("SESSION_NOT_OURS", "The session token is not from the Clerk instance of this server.")

_MESSAGES: Mapping[TokenFault, Sentence] = {
    TokenFault.TOO_LARGE: say("SESSION_TOO_LARGE", "The session token is too long. Keep custom claims short."),
    TokenFault.MALFORMED: say("SESSION_MALFORMED", "This is neither an API key nor a session token that can be read."),
    TokenFault.ALGORITHM: say("SESSION_ALGORITHM", "The session token is not signed with RS256."),
    TokenFault.HEADER: _OTHER_INSTANCE,
    TokenFault.NOT_A_SESSION: say(
        "SESSION_OF_ANOTHER_KIND",
        "This is not a session token: tokens of templates, machines and OAuth applications are not accepted.",
    ),
    TokenFault.UNKNOWN_KEY: _OTHER_INSTANCE,
    TokenFault.SIGNATURE: _OTHER_INSTANCE,
    TokenFault.MISSING_CLAIM: say("SESSION_CLAIM_MISSING", "The session token lacks a claim that every session has."),
    TokenFault.BAD_CLAIM: say(
        "SESSION_CLAIM_MALFORMED", "A claim of the session token does not have the form that Clerk uses."
    ),
    TokenFault.VERSION: say(
        "SESSION_VERSION_OLD",
        "The session token has an old version. Choose version 2 in Clerk's dashboard, under Updates.",
    ),
    TokenFault.ISSUER: _OTHER_INSTANCE,
    TokenFault.PARTY: say(
        "SESSION_PARTY_UNKNOWN",
        "The session token was fetched by a page whose origin is not in CLERK_AUTHORIZED_PARTIES.",
    ),
    TokenFault.EXPIRED: say("SESSION_EXPIRED", "The session token has expired. Get a new one with getToken()."),
    TokenFault.NOT_YET: say(
        "SESSION_NOT_YET_VALID", "The session token is not valid yet: the clock of this server may be wrong."
    ),
    TokenFault.TOO_LONG: say(
        "SESSION_LASTS_TOO_LONG",
        "The session token is valid for longer than CLERK_TOKEN_LIFETIME allows. Get a standard one with getToken().",
    ),
    TokenFault.PENDING: say("SESSION_PENDING", "This person has not finished signing in."),
    TokenFault.NO_ORGANIZATION: say(
        "SESSION_LACKS_ORGANIZATION",
        (
            "The session token names no organisation, and CLERK_PERSONAL_TENANT requires one. Choose an "
            "organisation first."
        ),
    ),
}


def invalid_token(fault: TokenFault) -> InvalidToken:
    """Return the error for a fault; its sentence helps with an honest mistake and never repeats the token."""
    return InvalidToken(_MESSAGES[fault], reason=fault)


def check_form(token: str) -> str | None:
    """Return the key id of a token whose form is right; raises InvalidToken for anything Clerk would not have written.

    Header and claims are one JSON object each, in canonical base64url, with no name twice; RS256, and no other header
    field that changes what is signed. The signature is not checked yet.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise invalid_token(TokenFault.TOO_LARGE)
    parts = token.split(".")
    if len(parts) != 3:
        raise invalid_token(TokenFault.MALFORMED)
    header, _claims = _json_object(parts[0]), _json_object(parts[1])
    _check_header(header)
    _decode_base64url(parts[2])
    key_id: str | None = header.get("kid")
    return key_id


def decode(token: str, key: RSAPublicKey) -> Json:
    """Return the claims of a token whose form was checked; raises InvalidToken where the key did not sign it."""
    try:
        return _PYJWT.decode(token, key, algorithms=[ALGORITHM])
    except InvalidSignatureError:
        raise invalid_token(TokenFault.SIGNATURE) from None
    except InvalidTokenError:
        raise invalid_token(TokenFault.MALFORMED) from None


def _check_header(header: Json) -> None:
    if header.get("alg") != ALGORITHM:
        raise invalid_token(TokenFault.ALGORITHM)
    if header.keys() & _FORBIDDEN_HEADERS:
        raise invalid_token(TokenFault.HEADER)
    if "kid" in header and not _fits(_KEY_ID, header["kid"]):
        raise invalid_token(TokenFault.HEADER)
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT" or header.get("cat", SESSION_CATEGORY) != SESSION_CATEGORY:
        raise invalid_token(TokenFault.NOT_A_SESSION)


def _json_object(part: str) -> Json:
    try:
        text = _decode_base64url(part).decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique_names, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise invalid_token(TokenFault.MALFORMED) from None
    if not isinstance(value, dict):
        raise invalid_token(TokenFault.MALFORMED)
    return value


def _decode_base64url(part: str) -> bytes:
    """Decode canonical base64url: Python's own decoder ignores foreign letters and spare bits."""
    if not _PART.fullmatch(part):
        raise invalid_token(TokenFault.MALFORMED)
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise invalid_token(TokenFault.MALFORMED) from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise invalid_token(TokenFault.MALFORMED)
    return data


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Where a name is given twice, one reader takes the first value and another the last.
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


REQUIRED = ("exp", "iat", "nbf", "iss", "sub", "sid")
VERSION = 2
_USER = re.compile("user_[A-Za-z0-9]{1,64}")
_SESSION = re.compile("sess_[A-Za-z0-9]{1,64}")
_LAST_TIMESTAMP = 253_402_300_799.0
"""31 December 9999, 23:59:59: a datetime can hold no later second."""
_NOT_BEFORE_OFFSET = 60.0
"""Seconds that a token may be valid before it is issued: Clerk's are for ten."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token is held to.

    `parties` are the origins of pages that may call, any when None; `personal` is whose data a session without an
    organisation is about, None refuses it; `leeway` is in seconds, and so is `lifetime`, the longest life of a token.
    """

    issuer: str
    parties: frozenset[str] | None
    leeway: float
    lifetime: float
    personal: Tenancy | None
    roles: RoleScopes


def identity_of(claims: Json, rules: TokenRules, now: float, *, needs_party: bool) -> Identity:
    """Return whose session the claims describe; raises InvalidToken."""
    if any(claims.get(name) is None for name in REQUIRED):
        raise invalid_token(TokenFault.MISSING_CLAIM)
    if type(claims.get("v")) is not int or claims["v"] != VERSION:
        raise invalid_token(TokenFault.VERSION)
    if claims["iss"] != rules.issuer:
        raise invalid_token(TokenFault.ISSUER)
    subject, session = _subject(_USER, claims["sub"]), _subject(_SESSION, claims["sid"])
    issued_at, expires_at = _check_times(claims, rules, now)
    party = _check_party(claims, rules, needs_party=needs_party)
    if claims.get("sts", "active") != "active":
        raise invalid_token(TokenFault.PENDING)
    organization = active_organization(claims)
    return Identity(
        subject=subject,
        session_id=session,
        issued_at=issued_at,
        expires_at=expires_at,
        tenancy=_tenancy(organization, rules),
        scopes=scopes_of(organization, rules.roles),
        organization=organization,
        party=party,
        actor=_actor(claims),
    )


def _tenancy(organization: ActiveOrganization | None, rules: TokenRules) -> Tenancy:
    if organization is not None:
        return Tenancy.ORGANIZATION
    if rules.personal is None:
        raise invalid_token(TokenFault.NO_ORGANIZATION)
    return rules.personal


def _check_times(claims: Json, rules: TokenRules, now: float) -> tuple[datetime, datetime]:
    issued, begins, ends = (_timestamp(claims[name]) for name in ("iat", "nbf", "exp"))
    if ends <= now - rules.leeway:
        raise invalid_token(TokenFault.EXPIRED)
    if max(issued, begins) > now + rules.leeway:
        raise invalid_token(TokenFault.NOT_YET)
    if ends <= max(issued, begins):
        raise invalid_token(TokenFault.BAD_CLAIM)
    if ends - min(issued, begins + _NOT_BEFORE_OFFSET) > rules.lifetime:
        raise invalid_token(TokenFault.TOO_LONG)
    return datetime.fromtimestamp(issued, UTC), datetime.fromtimestamp(ends, UTC)


def _timestamp(value: object) -> float:
    # Compared before it is converted: an integer of any size compares with a float, but not each can become one.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_TIMESTAMP:
        raise invalid_token(TokenFault.BAD_CLAIM)
    return float(value)


def _check_party(claims: Json, rules: TokenRules, *, needs_party: bool) -> str | None:
    party = claims.get("azp")
    # An application without pages has none; with a cookie there must be a page.
    if party is None and not needs_party:
        return None
    if not isinstance(party, str) or (rules.parties is not None and party not in rules.parties):
        raise invalid_token(TokenFault.PARTY)
    return party


def _actor(claims: Json) -> str | None:
    act = claims.get("act")
    if act is None:
        return None
    if not isinstance(act, dict):
        raise invalid_token(TokenFault.BAD_CLAIM)
    return _subject(_USER, act.get("sub"))


def _subject(form: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        # A machine's token differs in nothing but its kind of subject.
        raise invalid_token(TokenFault.NOT_A_SESSION)
    return value


_ORGANIZATION_ID = re.compile("org_[A-Za-z0-9]{1,64}")
_ROLE_OR_FEATURE = re.compile("[a-z0-9_-]{1,128}")
_SLUG = re.compile("[A-Za-z0-9_-]{1,256}")
_MASK = re.compile("[0-9]{1,18}")


def active_organization(claims: Mapping[str, Any]) -> ActiveOrganization | None:
    """Read the claim `o`; None where no organisation is active. Raises InvalidToken for one that cannot be read."""
    if "o" not in claims:
        return None
    found = claims["o"]
    if not isinstance(found, dict):
        raise invalid_token(TokenFault.BAD_CLAIM)
    role, slug = found.get("rol"), found.get("slg")
    if (
        not _fits(_ORGANIZATION_ID, found.get("id"))
        or not _fits(_ROLE_OR_FEATURE, role)
        or not (slug is None or _fits(_SLUG, slug))
    ):
        raise invalid_token(TokenFault.BAD_CLAIM)
    # Tokens leave out the prefix org:, webhooks and Clerk's own libraries do not.
    return ActiveOrganization(found["id"], slug, f"org:{role}", frozenset(_permissions(claims, found)))


def _permissions(claims: Mapping[str, Any], organization: Mapping[str, Any]) -> Iterable[str]:
    """Unpack permissions; there are none where their meaning is not certain."""
    names = _list_of(organization.get("per"))
    features = [word.split(":") for word in _list_of(claims.get("fea"))]
    masks = _list_of(organization.get("fpm"))
    if not _are_valid(names, features, masks):
        return ()
    of_organization = [feature for feature in features if "o" in feature[0]]
    # Clerk's libraries differ on whether features of the person alone have a mask.
    if len(masks) == len(features):
        chosen = [(name, int(mask)) for (scope, name), mask in zip(features, masks, strict=True) if "o" in scope]
    elif len(masks) == len(of_organization):
        chosen = [(name, int(mask)) for (_, name), mask in zip(of_organization, masks, strict=True)]
    else:
        return ()
    if any(mask >> len(names) for _, mask in chosen):
        return ()
    return [f"org:{feature}:{name}" for feature, mask in chosen for bit, name in enumerate(names) if mask >> bit & 1]


def _are_valid(names: Sequence[str], features: Sequence[Sequence[str]], masks: Sequence[str]) -> bool:
    return (
        all(len(feature) == 2 and feature[0] in ("o", "u", "uo", "ou") for feature in features)
        and all(_ROLE_OR_FEATURE.fullmatch(name) for name in (*names, *(feature[1] for feature in features)))
        and all(_MASK.fullmatch(mask) for mask in masks)
        and len(set(names)) == len(names)
        and len({tuple(feature) for feature in features}) == len(features)
    )


def _list_of(value: object) -> Sequence[str]:
    return value.split(",") if isinstance(value, str) and value else []


def _fits(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None
