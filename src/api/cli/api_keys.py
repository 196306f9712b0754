"""`interalpha api-keys` and `interalpha token`: credentials for the API."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import rich_click as click

from api.cli.client import development_token
from api.cli.database import database_errors_explained
from api.cli.environment import core_settings, dev_environment
from api.cli.options import Choice, Duration, Utf8Text
from api.cli.terminal import Exit, Failure, clock, confirm, json_option, minute, print_json, screen, yes_option
from core.ports.identity import DEFAULT_TENANT, Scope

if TYPE_CHECKING:
    from api.database_commands import ApiKeyAdmin
    from core.access.api_keys import ApiKey
    from core.addresses import Address

COMMANDS = {
    "api-keys": ("api_keys_command", "Create, list and revoke API keys.", 150),
    "token": ("token_command", "Print a development token.", 180),
}


def read_recipients(written: Sequence[str]) -> Sequence["Address"]:
    """Read numbers and addresses; raises Failure."""
    # Here, because telephone numbers bring a large table, and help should not wait for that.
    from core.addresses import email_address, phone_address
    from core.errors import InvalidInput

    try:
        return [email_address(one, path=[]) if "@" in one else phone_address(one, path=[]) for one in written]
    except InvalidInput as error:
        raise Failure(f"--recipient: {error.message}", Exit.USAGE) from None


def standing(key: "ApiKey") -> str:
    """Whether a key lets anybody in, and until when."""
    if key.revoked_at is not None:
        return f"revoked {minute(key.revoked_at)}"
    if key.expires_at is None:
        return "without an end"
    return f"{'ended' if key.expires_at <= datetime.now(UTC) else 'until'} {minute(key.expires_at)}"


def as_json_of(key: "ApiKey") -> dict[str, Any]:
    """A key as a program reads it, spelled as over GraphQL."""
    return {
        "prefix": key.prefix,
        "name": key.name,
        "kind": key.kind,
        "scopes": list(key.scopes),
        "allowedRecipients": list(key.recipients_masked),
        "createdBy": key.created_by,
        "isOrphaned": key.is_orphaned,
        "createdAt": key.created_at.isoformat(),
        "expiresAt": _moment(key.expires_at),
        "lastUsedAt": _moment(key.last_used_at),
        "revokedAt": _moment(key.revoked_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


# `interalpha api-keys`: API keys, made directly in the database, so that an installation can get its first one.


_ALL = "all"
_KINDS = ("live", "allow-list", "test")

tenant_option = click.option(
    "--tenant", type=click.UUID, default=DEFAULT_TENANT, help="Whose (default: the tenant every installation has)."
)


@click.group()
def api_keys_command() -> None:
    """The keys servers call with: make, list, revoke. Uses DATABASE_URL and ENCRYPTION_KEYS, and no server."""


@api_keys_command.command()
@click.option("--name", type=Utf8Text(), required=True, help="To recognise it by.")
@click.option(
    "--scope",
    "scopes",
    type=Choice([*Scope, _ALL], case_sensitive=False),
    multiple=True,
    required=True,
    help=f"What it allows: {', '.join([*(one.lower() for one in Scope), _ALL])}. May be repeated.",
)
@click.option(
    "--kind",
    type=Choice(_KINDS, case_sensitive=False),
    default=_KINDS[0],
    show_default=True,
    help="live, allow-list (reaches only --recipient), or test (reaches simulated providers only).",
)
@click.option("--recipient", "recipients", type=Utf8Text(), multiple=True, help="A number or address it may reach.")
@click.option("--expires-in", type=Duration(), metavar="TIME", help="How long it lets in: 12h, 90d (default: no end).")
@tenant_option
@json_option
def create(
    name: str,
    scopes: Sequence[str],
    kind: str,
    recipients: Sequence[str],
    expires_in: timedelta | None,
    tenant: UUID,
    as_json: bool,
) -> None:
    """Make a key, and print it, this once. Stdout holds the key and nothing else."""
    from core.access.api_key_lookup import KeyKind
    from core.access.api_keys import NewKey

    allowed = frozenset(Scope) if _ALL in scopes else frozenset(Scope(one.upper()) for one in scopes)
    wanted = KeyKind(kind.upper().replace("-", "_"))
    key = NewKey(name, wanted, allowed, read_recipients(recipients), expires_in)
    with database_explained():
        made, secret = _books(tenant).create(key)
    if as_json:
        print_json(as_json_of(made) | {"secret": secret})
        return
    click.echo(f"✓ {made.name}: {', '.join(made.scopes)}, {standing(made)}", err=True)
    click.echo("  It is shown this once and kept nowhere: store it now. Send it as Authorization: Bearer …", err=True)
    click.echo(secret)


@api_keys_command.command("list")
@click.option("--orphaned", "only_orphaned", is_flag=True, help="Only keys whose maker was deleted, banned or left.")
@tenant_option
@json_option
def list_(only_orphaned: bool, tenant: UUID, as_json: bool) -> None:
    """List keys, newest first, without their secrets. Keys whose maker was deleted, banned or left are marked."""
    with database_explained():
        keys = [one for one in _books(tenant).read() if one.is_orphaned or not only_orphaned]
    if as_json:
        print_json([as_json_of(one) for one in keys])
        return
    out = screen()
    for one in keys:
        used = f"used {clock(one.last_used_at.isoformat(), millis=False)}" if one.last_used_at else "never used"
        out.print(f"{one.prefix:<22}  {standing(one):<28}  {used}  {one.name}")
        reaches = f"   to {', '.join(one.recipients_masked)}" if one.recipients_masked else ""
        gone = ", who was deleted, banned or left" if one.is_orphaned else ""
        out.print(f"    {', '.join(one.scopes)}{reaches}   made by {one.created_by}{gone}")
    if any(one.is_orphaned for one in keys):
        text = "These keys still work. Revoke them, or set API_KEYS_END_WITH_MAKER=true for the worker."
        click.echo(text, err=True)
    elif only_orphaned:
        click.echo("No API keys of such makers.", err=True)
    elif not keys:
        click.echo("No API keys. Make one: interalpha api-keys create --name shop --scope MESSAGES_SEND", err=True)


@api_keys_command.command()
@click.argument("prefix", type=Utf8Text())
@tenant_option
@yes_option
def revoke(prefix: str, tenant: UUID, yes: bool) -> None:
    """Revoke the key that begins with PREFIX for good: ia_live_…, as the list shows it."""
    from core.access.api_key_lookup import key_name_in

    name = key_name_in(prefix)
    if name is None:
        raise Failure("That is not how a key begins: `interalpha api-keys list` shows all of them.", Exit.USAGE)
    confirm(f"Revoke {prefix[: prefix.index(name) + len(name)]} for good?", yes=yes)
    with database_explained():
        revoked = _books(tenant).revoke(name)
    if revoked is None:
        raise Failure("There is no such key: `interalpha api-keys list` shows all of them.")
    click.echo(f"✓ {revoked.prefix} is revoked. Running servers refuse it within seconds.")


def _books(tenant: UUID) -> "ApiKeyAdmin":
    settings = core_settings(dev_environment())
    address = settings.database_url or settings.database_url_direct
    if address is None or not settings.encryption_keys:
        text = "There is no database to work on. Start `make dev`, or set DATABASE_URL and ENCRYPTION_KEYS."
        raise Failure(text, Exit.NOT_CONFIGURED)
    # Here, because it brings SQLAlchemy, and help and refusals should not wait for that.
    from api.database_commands import ApiKeyAdmin
    from core.sealing import Sealer

    return ApiKeyAdmin(address.get_secret_value(), Sealer(settings.sealing_keys), tenant)


@contextmanager
def database_explained() -> Iterator[None]:
    """Turn what can go wrong with the database into words."""
    from core.errors import NotFound, Refused

    with database_errors_explained():
        try:
            yield
        except (Refused, NotFound) as error:
            raise Failure(error.message) from None


# `interalpha token`: prints only a development token, for use as `$(interalpha token)`.


@click.command()
@click.option("--tenant", type=click.UUID, help="Who it speaks for (default: the tenant every installation has).")
def token_command(tenant: UUID | None) -> None:
    """Print a development token: every right, for 30 days (DEVELOPMENT_TOKEN_DAYS), on this installation only.

    Stdout holds the token and nothing else: curl -H "authorization: Bearer $(interalpha token)" …
    """
    environment = dev_environment()
    token = development_token(environment, tenant)
    if tenant is not None:
        _check(environment, tenant)
    days = core_settings(environment).development_token_days
    click.echo(
        f"A development token: every right, {days} days, this installation only. Send it as Authorization: Bearer …",
        err=True,
    )
    click.echo(token)


def _check(environment: dict[str, str], tenant: UUID) -> None:
    """Raise Failure for a tenant that is not there: with a token for it nothing could be done."""
    settings = core_settings(environment)
    address = settings.database_url or settings.database_url_direct
    if address is None:
        text = "There is no database to look the tenant up in. Start `make dev`, or set DATABASE_URL."
        raise Failure(text, Exit.NOT_CONFIGURED)
    # Here, because it brings SQLAlchemy, and help and refusals should not wait for that.
    from api.database_commands import check_tenant

    with database_explained():
        check_tenant(address.get_secret_value(), tenant)
