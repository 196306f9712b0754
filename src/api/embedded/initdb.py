"""Creating the data folder of PostgreSQL, whole or not at all."""

import shutil

from api.embedded.folder import write_private
from api.embedded.log import Log
from api.embedded.unprivileged import Lodging

_OPTIONS = (
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    # PostgreSQL's own collation: it sorts by bytes and needs no locale of the system.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
)


async def create_data(lodging: Lodging, password: str, log: Log, *, durable: bool) -> None:
    """Fill a folder beside the final one and rename it when complete, so that half a database is never started."""
    draft = lodging.data.with_name("postgres.new")
    password_file = lodging.data.with_name("postgres.password")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    write_private(password_file, password)
    lodging.hand_over(draft)
    lodging.hand_over(password_file)
    options = (*_OPTIONS, f"--pwfile={password_file}", *(() if durable else ("--no-sync",)))
    try:
        process = lodging.spawn("initdb", ["-D", str(draft), *options], log)
        try:
            await process.ended()
        finally:
            await process.stop()
    finally:
        password_file.unlink()
    if process.exit_code != 0:
        raise log.failure("PostgreSQL could not create its data folder", "Set DATABASE_URL to use another PostgreSQL")
    draft.rename(lodging.data)
