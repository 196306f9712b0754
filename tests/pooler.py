"""PgBouncer in transaction mode before a database of ours, as Neon's pooled address has it."""

import asyncio
import configparser
import io
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.databases import Urls
from tests.servers import free_port

DOCUMENTED = Path(__file__).parents[1] / "deploy" / "pgbouncer.ini"
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# The machine that checks every change installs it; elsewhere it is a bonus.
needs_pooler = pytest.mark.skipif(PGBOUNCER is None and "CI" not in os.environ, reason="pgbouncer is not installed")


def configuration(server: int, port: int, users: Path, host: str, **changes: str) -> str:
    """The documented file, with addresses and files of this machine."""
    parser = configparser.ConfigParser(comment_prefixes=(";",))
    parser.read(DOCUMENTED)
    parser["databases"] = {"*": f"host={host} port={server}"}
    parser["pgbouncer"].update({"listen_port": str(port), "auth_file": str(users), **changes})
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


@asynccontextmanager
async def behind_a_pooler(
    urls: Urls,
    tmp_path: Path,
    *,
    connections: int = 2,
    host: str = "127.0.0.1",
    server: int | None = None,
    **changes: str,
) -> AsyncIterator[Urls]:
    """The same database behind a pool of so many server connections for each role; `server` is another port of it."""
    port, upstream = free_port(), server or urlsplit(urls.app).port or 0
    users = [urlsplit(url) for url in (urls.app, urls.worker)]
    (tmp_path / "users").write_text("".join(f'"{user.username}" "{user.password}"\n' for user in users))
    text = configuration(upstream, port, tmp_path / "users", host, default_pool_size=str(connections), **changes)
    (tmp_path / "pgbouncer.ini").write_text(text)
    for path in (tmp_path, tmp_path / "users", tmp_path / "pgbouncer.ini"):
        # PgBouncer refuses to run as root.
        shutil.chown(path, "nobody") if os.getuid() == 0 else None
    for above in tmp_path.parents:
        if above.owner() != "root" or "pytest" not in str(above):
            break
        above.chmod(0o711)
    process = await asyncio.create_subprocess_exec(
        PGBOUNCER or "pgbouncer",
        "-q",
        str(tmp_path / "pgbouncer.ini"),
        user="nobody" if os.getuid() == 0 else None,
        extra_groups=[] if os.getuid() == 0 else None,
        stderr=asyncio.subprocess.DEVNULL,
    )

    def through(url: str) -> str:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")).geturl()

    try:
        await _listening(port)
        yield Urls(through(urls.app), through(urls.worker), urls.direct, urls.superuser, urls.redis)
    finally:
        process.terminate()
        await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return
