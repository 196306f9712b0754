"""Making, reading and revoking API keys; the text of a key is shown once, when it is made, and never stored.

A new key is checked against the rights of its maker. A key whose maker is deleted, banned or no longer a member of the
organisation is orphaned; migration 0035 holds that rule.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.api_key_lookup import RECIPIENTS_COLUMN, KeyKind, generate_key, key_prefix
from core.access.tables import api_keys
from core.addresses import Address
from core.audit.act import Act, Author
from core.characters import line_errors, refused_on_line
from core.errors import AppError, InputRule, InvalidInput, Refused
from core.ids import uuid7
from core.masking import contains_address
from core.pagination import PageRequest, read_page
from core.ports.identity import UNRESTRICTED, ActorKind, Principal, Reach, Scope, comparable_form
from core.sealing import Sealer
from core.words import say

LONGEST_NAME = 100
MOST_RECIPIENTS = 100
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=3_650)
ACTION, SYSTEM = "revokeOrphanedKeys", "interalpha"
"""The action and the actor in the audit log."""

_FIND = text("SELECT id FROM orphaned_keys() WHERE tenant_id = :tenant")
_REVOKE = text("SELECT tenant_id, id FROM revoke_orphaned_keys()")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made: `expires_in` is None for one without an end; `recipients` are for an allow list only."""

    name: str
    kind: KeyKind
    scopes: Collection[Scope]
    recipients: Sequence[Address] = ()
    expires_in: timedelta | None = None

    @property
    def reach(self) -> Reach:
        """Which recipients its messages may reach."""
        match self.kind:
            case KeyKind.LIVE:
                return UNRESTRICTED
            case KeyKind.TEST:
                return Reach(simulated_only=True)
            case KeyKind.ALLOW_LIST:
                return Reach(recipients=frozenset(comparable_form(one.value) for one in self.recipients))


def check_new_key(key: NewKey, maker: Principal | None) -> None:
    """Raise Refused with all that is wrong; there is no maker where an operator acts on the database itself."""
    errors: list[AppError] = [*_errors(key), *(_excesses(key, maker) if maker is not None else ())]
    if errors:
        raise Refused(errors)


def _errors(key: NewKey) -> Iterator[AppError]:
    yield from _name_errors(key)
    if not key.scopes:
        yield _wrong(
            say("API_KEY_WITHOUT_SCOPES", "A key without scopes can do nothing. Give it at least one."),
            "scopes",
            InputRule.REQUIRED,
        )
    if key.expires_in is not None and not SHORTEST <= key.expires_in <= LONGEST:
        yield _wrong(
            say(
                "API_KEY_LIFE",
                "A key is valid for PT1M to P3650D. Leave `expiresIn` out for a key that does not expire.",
            ),
            "expiresIn",
        )
    if key.kind is not KeyKind.ALLOW_LIST and key.recipients:
        text = say(
            "API_KEY_RECIPIENTS_UNUSED",
            "Only keys of the kind ALLOW_LIST have recipients; this one is {kind}.",
            kind=key.kind,
        )
        yield _wrong(text, "allowedRecipients", InputRule.NOT_ALLOWED)
    elif key.kind is KeyKind.ALLOW_LIST and not 1 <= len(key.recipients) <= MOST_RECIPIENTS:
        rule = InputRule.TOO_LONG if key.recipients else InputRule.REQUIRED
        yield _wrong(
            say("API_KEY_RECIPIENTS", "An allow list contains 1 to {most} recipients.", most=MOST_RECIPIENTS),
            "allowedRecipients",
            rule,
        )


def _name_errors(key: NewKey) -> Iterator[AppError]:
    if refused_on_line(key.name):
        yield from line_errors(key.name, ["input", "name"])
    elif not key.name.strip():
        yield _wrong(say("API_KEY_NAME_MISSING", "The key has no name."), "name", InputRule.REQUIRED)
    elif len(key.name) > LONGEST_NAME:
        text = say("API_KEY_NAME", "A key's name has at most {most} characters, on one line.", most=LONGEST_NAME)
        yield _wrong(text, "name", InputRule.MALFORMED)
    elif contains_address(key.name):
        text = say(
            "API_KEY_NAME_HOLDS_ADDRESS",
            (
                "The name of a key is stored permanently, and this one looks like a telephone number or an e-mail "
                "address. Name the system that uses the key."
            ),
        )
        yield _wrong(text, "name", InputRule.NOT_ALLOWED)


def _excesses(key: NewKey, maker: Principal) -> Iterator[AppError]:
    """The rights that the maker lacks, and so cannot give to a key."""
    if beyond := [scope for scope in Scope if scope in key.scopes and scope not in maker.scopes]:
        text = say(
            "API_KEY_BEYOND_SCOPES",
            "Your credentials lack {scopes}, so they cannot grant it to a key.",
            scopes=", ".join(beyond),
        )
        yield _wrong(text, "scopes", InputRule.NOT_ALLOWED)
    if not maker.reach.covers(key.reach):
        text = say(
            "API_KEY_BEYOND_REACH",
            (
                "The new key could reach recipients that your key cannot. A test key creates only test keys; a key "
                "with an allow list passes on only entries of its own list."
            ),
        )
        yield _wrong(text, "kind", InputRule.NOT_ALLOWED)


def outlives_maker(ends: datetime | None, maker: Principal | None) -> bool:
    """Whether a key would end after the key that makes it; sessions of people are short and set no limit."""
    if maker is None or maker.api_key is None or maker.expires_at is None:
        return False
    return ends is None or ends.timestamp() > maker.expires_at


def outlives_maker_error() -> Refused:
    """The error for a key that would end after its maker."""
    return Refused(
        [
            _wrong(
                say("API_KEY_OUTLIVES", "Your own key expires before the new key would. Set a shorter `expiresIn`."),
                "expiresIn",
            )
        ]
    )


def _wrong(text: str, name: str, rule: InputRule = InputRule.OUT_OF_RANGE) -> InvalidInput:
    return InvalidInput(text, path=["input", name], rule=rule)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it may be shown: everything but its secret. `public_id` is the part it is found by.

    `is_orphaned` says that it is valid and its maker is gone, where that was looked up.
    """

    id: UUID
    public_id: str
    name: str
    kind: KeyKind
    scopes: Sequence[Scope]
    recipients_masked: Sequence[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    is_orphaned: bool = False

    @property
    def prefix(self) -> str:
        """Its first characters: enough to recognise it."""
        return key_prefix(self.kind, self.public_id)


async def create_api_key(
    connection: AsyncConnection, sealer: Sealer, tenant: UUID, key: NewKey, *, maker: Principal | None, created_by: str
) -> tuple[ApiKey, str]:
    """Make a key and return it with its text; raises Refused."""
    check_new_key(key, maker)
    row, (secret, parts) = uuid7(), generate_key(key.kind)
    made = insert(api_keys).values(
        tenant_id=tenant,
        id=row,
        public_id=parts.name,
        secret_hash=parts.hash,
        name=key.name,
        kind=key.kind.value,
        scopes=[scope.value for scope in Scope if scope in key.scopes],
        recipients_sealed=_sealed(sealer, tenant, row, key),
        recipients_masked=[one.masked for one in key.recipients],
        created_by=created_by,
        expires_at=None if key.expires_in is None else func.now() + key.expires_in,
    )
    stored = _key((await connection.execute(made.returning(api_keys))).one())
    if outlives_maker(stored.expires_at, maker):
        # The database's clock decides; the caller's transaction rolls the row back.
        raise outlives_maker_error()
    return stored, secret


async def revoke_api_key(connection: AsyncConnection, tenant: UUID, key: UUID) -> ApiKey | None:
    """Revoke a key; None where the tenant has none of that id. A key revoked before keeps its moment."""
    revoked = (
        update(api_keys)
        .where(api_keys.c.tenant_id == tenant, api_keys.c.id == key)
        .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
        .returning(api_keys)
    )
    row = (await connection.execute(revoked)).one_or_none()
    return None if row is None else _key(row)


async def api_keys_by_id(connection: AsyncConnection, tenant: UUID, ids: Collection[UUID]) -> dict[UUID, ApiKey]:
    """Read a tenant's keys by id; those it does not have are left out."""
    chosen = select(api_keys).where(api_keys.c.tenant_id == tenant, api_keys.c.id.in_(list(ids)))
    return {row.id: _key(row) for row in await connection.execute(chosen)}


async def api_key_id(connection: AsyncConnection, tenant: UUID, public_id: str) -> UUID | None:
    """The id of a tenant's key by the part it is found by; None where it has no such key."""
    chosen = select(api_keys.c.id).where(api_keys.c.tenant_id == tenant, api_keys.c.public_id == public_id)
    found: UUID | None = (await connection.execute(chosen)).scalar_one_or_none()
    return found


async def api_keys_page(connection: AsyncConnection, tenant: UUID, which: PageRequest) -> tuple[Sequence[ApiKey], bool]:
    """Read one page of a tenant's keys, newest first, and whether there are more."""
    statement = select(api_keys).where(api_keys.c.tenant_id == tenant)
    rows, has_more = await read_page(connection, statement, api_keys.c.id, which)
    return [_key(row) for row in rows], has_more


def _sealed(sealer: Sealer, tenant: UUID, row: UUID, key: NewKey) -> bytes | None:
    recipients = key.reach.recipients
    if recipients is None:
        return None
    return sealer.seal(json.dumps(sorted(recipients)), tenant=tenant, row=row, column=RECIPIENTS_COLUMN)


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        public_id=row.public_id,
        name=row.name,
        kind=KeyKind(row.kind),
        scopes=[scope for scope in Scope if scope in row.scopes],
        recipients_masked=row.recipients_masked,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )


async def orphaned_keys(connection: AsyncConnection, tenant: UUID) -> Collection[UUID]:
    """The valid keys of a tenant whose maker is gone."""
    return set((await connection.execute(_FIND, {"tenant": tenant})).scalars())


async def revoke_orphaned_keys(connection: AsyncConnection) -> int:
    """Revoke the keys of all tenants whose maker is gone, with an audit event each; returns how many."""
    rows = (await connection.execute(_REVOKE)).all()
    for row in rows:
        await Act(row.tenant_id, Author(SYSTEM, ActorKind.SYSTEM, ACTION)).done(connection, "ApiKey", [row.id])
    return len(rows)
