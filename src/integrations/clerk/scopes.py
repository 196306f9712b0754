"""Clerk's roles and permissions as our scopes. A role or permission that is in no table gives no scope."""

import json
import re
from collections.abc import Mapping

from core.ports import ActiveOrganization
from core.ports.principal import Scope
from core.settings import WrongValue

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
