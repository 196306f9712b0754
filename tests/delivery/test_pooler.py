"""The road through PgBouncer in transaction mode, as Neon's pooled address has it."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.access.principal import DEFAULT_TENANT
from core.database import Database, make_engine
from core.pubsub import Hub
from core.sealing import Sealer
from tests.conftest import Urls
from tests.delivery.conftest import ObedientSender, Shop, open_shop
from tests.ports import free_port

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

# The machine that checks every change installs it; elsewhere it is a bonus.
pytestmark = pytest.mark.skipif(PGBOUNCER is None and "CI" not in os.environ, reason="pgbouncer is not installed")


@pytest.fixture
async def pooled(urls: Urls, tmp_path: Path) -> AsyncIterator[Urls]:
    """The same database behind a pool of two server connections."""
    port, server = free_port(), urlsplit(urls.app)
    users = [urlsplit(url) for url in (urls.app, urls.worker)]
    (tmp_path / "users").write_text("".join(f'"{user.username}" "{user.password}"\n' for user in users))
    (tmp_path / "pgbouncer.ini").write_text(
        f"""
[databases]
* = host=127.0.0.1 port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {tmp_path}/users
pool_mode = transaction
default_pool_size = 2
"""
    )
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
        await listening(port)
        yield Urls(through(urls.app), through(urls.worker), urls.direct, urls.superuser, urls.redis)
    finally:
        process.terminate()
        await process.wait()


async def listening(port: int) -> None:
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


async def test_messages_are_accepted_and_delivered_through_a_pooler(pooled: Urls, sealer: Sealer, hub: Hub) -> None:
    app, worker = (Database(make_engine(url, prepared_statements=False)) for url in (pooled.app, pooled.worker))
    shop: Shop = open_shop(app, worker, sealer, hub, ObedientSender())
    ids = await asyncio.gather(*(shop.accept(body=str(number), key=str(number)) for number in range(30)))
    assert [await shop.accept(body="0", key="0")] == [ids[0]]
    await shop.courier.drain()
    assert {await shop.status(one) for one in ids} == {"SENT"}
    assert len(shop.sender.sent) == 30
    await app.close()
    await worker.close()


async def test_a_transactions_tenants_do_not_leak_to_the_next_client(pooled: Urls) -> None:
    database = Database(make_engine(pooled.worker, prepared_statements=False))

    async def told(*tenants: object) -> str:
        async with database.transaction(*tenants) as connection:  # type: ignore[arg-type]
            answer = await connection.exec_driver_sql("SELECT current_setting('app.tenants', true)")
            return str(answer.scalar_one())

    answers = await asyncio.gather(*(told(DEFAULT_TENANT) if number % 2 else told() for number in range(40)))
    assert answers == [str(DEFAULT_TENANT) if number % 2 else "" for number in range(40)]
    await database.close()
