"""The organisation a session is about, and its permissions, as version 2 of the token packs them.

https://clerk.com/docs/guides/sessions/session-tokens
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from core.ports import ActiveOrganization, TokenFault
from integrations.clerk.refusals import refusal

_ID = re.compile("org_[A-Za-z0-9]{1,64}")
_NAME = re.compile("[a-z0-9_-]{1,128}")
_SLUG = re.compile("[A-Za-z0-9_-]{1,256}")
_MASK = re.compile("[0-9]{1,18}")


def active_organization(claims: Mapping[str, Any]) -> ActiveOrganization | None:
    """Read the claim `o`; None where no organisation is active. Raises InvalidToken for one nobody can read."""
    if "o" not in claims:
        return None
    found = claims["o"]
    if not isinstance(found, dict):
        raise refusal(TokenFault.BAD_CLAIM)
    role, slug = found.get("rol"), found.get("slg")
    if not _is(_ID, found.get("id")) or not _is(_NAME, role) or not (slug is None or _is(_SLUG, slug)):
        raise refusal(TokenFault.BAD_CLAIM)
    # Tokens leave the prefix out, webhooks and Clerk's own libraries do not.
    return ActiveOrganization(found["id"], slug, f"org:{role}", frozenset(_permissions(claims, found)))


def _permissions(claims: Mapping[str, Any], organization: Mapping[str, Any]) -> Iterable[str]:
    """Unpack permissions; where it is not certain what is meant, there are none."""
    names = _words(organization.get("per"))
    features = [word.split(":") for word in _words(claims.get("fea"))]
    masks = _words(organization.get("fpm"))
    if not _are_sound(names, features, masks):
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


def _are_sound(names: Sequence[str], features: Sequence[Sequence[str]], masks: Sequence[str]) -> bool:
    return (
        all(len(feature) == 2 and feature[0] in ("o", "u", "uo", "ou") for feature in features)
        and all(_NAME.fullmatch(name) for name in (*names, *(feature[1] for feature in features)))
        and all(_MASK.fullmatch(mask) for mask in masks)
        and len(set(names)) == len(names)
        and len({tuple(feature) for feature in features}) == len(features)
    )


def _words(value: object) -> Sequence[str]:
    return value.split(",") if isinstance(value, str) and value else []


def _is(form: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None
