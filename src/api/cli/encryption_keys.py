"""`interalpha keys`: shows which encryption keys stored values use, and re-encrypts them with the current key."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import rich_click as click

from api.cli.database import database_errors_explained
from api.cli.environment import core_settings, dev_environment
from api.cli.terminal import Exit, Failure, json_option, print_json

if TYPE_CHECKING:
    from core.database import Database
    from core.sealing import Sealer

COMMANDS = {"keys": ("command", "Show which keys encrypt personal data; re-encrypt it under the current one.", 170)}

Result = TypeVar("Result")

_UNNAMED = "(not said)"


@click.group()
def command() -> None:
    """The keys that seal personal data: ENCRYPTION_KEYS, the current one first.

    Works on the database itself, by DATABASE_URL_WORKER or else DATABASE_URL.
    """


@command.command()
@json_option
def status(as_json: bool) -> None:
    """Count the values that lie under each key."""
    from api.migrations import metadata
    from core.privacy.encryption_keys import FINGERPRINTS, count_by_key

    async def work(database: "Database", sealer: "Sealer") -> tuple[Sequence[str], Mapping[str, Mapping[str, int]]]:
        found = await count_by_key(database, metadata)
        places = {one.place: {name or _UNNAMED: number for name, number in one.values.items()} for one in found}
        return sealer.key_names, places

    names, places = _work(work)
    if as_json:
        print_json(
            {"current": names[0], "keys": list(names), "missing": list(_missing(places, names)), "values": places}
        )
        return
    width = max(map(len, places))
    for place, values in places.items():
        told = ", ".join(f"{name}: {number}" for name, number in sorted(values.items())) or "nothing"
        click.echo(f"{place:<{width}}  {told}")
    if missing := _missing(places, names):
        raise Failure(
            f"Values lie under {', '.join(missing)}, which is not in ENCRYPTION_KEYS: these values cannot be read here."
            " Put it back, behind the current key, in every process. If it is gone: docs/how-to/lost-keys.md"
        )
    old = {name for place, values in places.items() if place != FINGERPRINTS for name in values} - {names[0]}
    if old:
        click.echo(f"\n! {', '.join(sorted(old))} is still needed: interalpha keys rotate")
        return
    waiting = sum(number for name, number in places[FINGERPRINTS].items() if name != names[0])
    click.echo(f"\n✓ Every sealed value lies under {names[0]}.")
    if waiting:
        click.echo(
            f"! {waiting} idempotency keys were fingerprinted under another key and end by themselves, within 7 days: "
            "without that key, repeating such a request is refused as a conflict."
        )


def _missing(places: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> Sequence[str]:
    """The ids of keys that sealed values need and ENCRYPTION_KEYS does not hold."""
    from core.privacy.encryption_keys import FINGERPRINTS

    needed = {name for place, values in places.items() if place != FINGERPRINTS for name in values}
    return sorted(needed - {*names, _UNNAMED})


@command.command("new-lookup")
@click.option("--yes", is_flag=True, help="Do not ask.")
def new_lookup(yes: bool) -> None:
    """Replace the secret of look-up hashes, when the key it was sealed with is lost for good.

    Reports that name an older message by the provider's id alone do not find it any more. Restart workers afterwards.
    """
    from core.operations.audit_log import record_for_all_tenants
    from core.sealing import replace_lookups

    if not yes:
        if not sys.stdin.isatty():
            raise Failure(
                "Older provider ids are not found by their hash afterwards, and there is no terminal to ask. Add --yes."
            )
        click.confirm("Replace the secret? Older provider ids are not found by their hash afterwards.", abort=True)

    async def work(database: "Database", sealer: "Sealer") -> None:
        await record_for_all_tenants(database, "keys new-lookup")
        await replace_lookups(database, sealer)

    _work(work)
    click.echo("✓ New look-up hashes are made with a new secret. Restart the workers.")


@command.command()
def rotate() -> None:
    """Seal everything anew that does not lie under the current key. Everything goes on meanwhile.

    Before that, append the new key behind the old one in ENCRYPTION_KEYS of every process, and then put it in front in
    every process. It can be ended at any moment, and begun again: what is done is done.
    """
    from api.migrations import metadata
    from core.operations.audit_log import record_for_all_tenants
    from core.privacy.encryption_keys import rotate_keys

    async def work(database: "Database", sealer: "Sealer") -> tuple[Sequence[str], int, int]:
        done = unreadable = 0
        await record_for_all_tenants(database, "keys rotate")
        async for step in rotate_keys(database, sealer, metadata):
            done, unreadable = done + step.sealed, unreadable + step.unreadable
            click.echo(f"  {step.table}: {step.sealed} sealed anew", err=True)
        return sealer.key_names, done, unreadable

    names, done, unreadable = _work(work)
    click.echo(f"✓ {done} values sealed anew under {names[0]}.")
    if unreadable:
        raise Failure(f"{unreadable} values can be opened with none of ENCRYPTION_KEYS: is a key missing there?")
    if len(names) > 1:
        click.echo("  `interalpha keys status` says when the old key may go.")
    else:
        click.echo("  ENCRYPTION_KEYS holds no other key: to change it, put a new one in front.")


def _work(work: "Callable[[Database, Sealer], Awaitable[Result]]") -> Result:
    from core.database import Database, make_engine
    from core.sealing import Sealer

    settings = core_settings(dev_environment())
    address = settings.database_url_worker or settings.database_url
    if address is None or not settings.encryption_keys:
        text = "DATABASE_URL and ENCRYPTION_KEYS are needed. Start `make dev`, or set them."
        raise Failure(text, Exit.NOT_CONFIGURED)

    async def connected() -> Result:
        database = Database(
            make_engine(
                address.get_secret_value(), prepared_statements=settings.database_prepared_statements, pool_size=1
            )
        )
        try:
            return await work(database, Sealer(settings.sealing_keys))
        finally:
            await database.close()

    with database_errors_explained():
        return asyncio.run(connected())
