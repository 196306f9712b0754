"""What a session's token says, once its signature is believed. https://clerk.com/docs/guides/sessions/session-tokens"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from core.ports import ActiveOrganization, Identity, Tenancy, TokenFault
from integrations.clerk.organization import active_organization
from integrations.clerk.refusals import refusal
from integrations.clerk.scopes import RoleScopes, scopes_of

REQUIRED = ("exp", "iat", "nbf", "iss", "sub", "sid")
VERSION = 2
_USER = re.compile("user_[A-Za-z0-9]{1,64}")
_SESSION = re.compile("sess_[A-Za-z0-9]{1,64}")
_LATEST = 253_402_300_799.0
"""The last second a calendar has."""
_HEAD_START = 60.0

Claims = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rules:
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


def read_claims(claims: Claims, rules: Rules, now: float, *, needs_party: bool) -> Identity:
    """Say whose session it is; raises InvalidToken."""
    if any(claims.get(name) is None for name in REQUIRED):
        raise refusal(TokenFault.MISSING_CLAIM)
    if type(claims.get("v")) is not int or claims["v"] != VERSION:
        raise refusal(TokenFault.VERSION)
    if claims["iss"] != rules.issuer:
        raise refusal(TokenFault.ISSUER)
    subject, session = _matching(_USER, claims["sub"]), _matching(_SESSION, claims["sid"])
    issued_at, expires_at = _check_times(claims, rules, now)
    party = _check_party(claims, rules, needs_party=needs_party)
    if claims.get("sts", "active") != "active":
        raise refusal(TokenFault.PENDING)
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


def _tenancy(organization: ActiveOrganization | None, rules: Rules) -> Tenancy:
    if organization is not None:
        return Tenancy.ORGANIZATION
    if rules.personal is None:
        raise refusal(TokenFault.NO_ORGANIZATION)
    return rules.personal


def _check_times(claims: Claims, rules: Rules, now: float) -> tuple[datetime, datetime]:
    issued, begins, ends = (_moment(claims[name]) for name in ("iat", "nbf", "exp"))
    if ends <= now - rules.leeway:
        raise refusal(TokenFault.EXPIRED)
    if max(issued, begins) > now + rules.leeway:
        raise refusal(TokenFault.NOT_YET)
    if ends <= max(issued, begins):
        raise refusal(TokenFault.BAD_CLAIM)
    # Clerk's tokens begin ten seconds before they are issued.
    if ends - min(issued, begins + _HEAD_START) > rules.lifetime:
        raise refusal(TokenFault.TOO_LONG)
    return datetime.fromtimestamp(issued, UTC), datetime.fromtimestamp(ends, UTC)


def _moment(value: object) -> float:
    # Compared as it is: an integer of any size compares with a float, and not every one can be made into one.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise refusal(TokenFault.BAD_CLAIM)
    return float(value)


def _check_party(claims: Claims, rules: Rules, *, needs_party: bool) -> str | None:
    party = claims.get("azp")
    # An application without pages has none; a cookie comes from a page, or from somebody who wants to seem one.
    if party is None and not needs_party:
        return None
    if not isinstance(party, str) or (rules.parties is not None and party not in rules.parties):
        raise refusal(TokenFault.PARTY)
    return party


def _actor(claims: Claims) -> str | None:
    act = claims.get("act")
    if act is None:
        return None
    if not isinstance(act, dict):
        raise refusal(TokenFault.BAD_CLAIM)
    return _matching(_USER, act.get("sub"))


def _matching(form: re.Pattern[str], value: object) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        # A machine's token has another kind of subject, and everything else in order.
        raise refusal(TokenFault.NOT_A_SESSION)
    return value
