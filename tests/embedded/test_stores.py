"""The running stores: roles, passwords, addresses and file permissions."""

import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from devkit.embedded.folder import FolderInUse
from devkit.embedded.process import command_line
from devkit.embedded.stores import Stores, StoreUrls
from tests.embedded.helpers import connected, server_pids


@dataclass(frozen=True, slots=True)
class Running:
    folder: Path
    stores: Stores
    urls: StoreUrls


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("stores") / "data"
    stores = Stores(folder)
    async with stores as urls:
        yield Running(folder, stores, urls)


async def test_versions_are_logged_and_addresses_are_not(running: Running) -> None:
    assert running.urls.postgres_version.startswith("18.")
    assert running.urls.valkey_version
    for address in (running.urls.app, running.urls.worker, running.urls.direct, running.urls.redis):
        assert address not in repr(running.urls)


async def test_starting_again_changes_nothing(running: Running) -> None:
    assert await running.stores.start() == running.urls


async def test_the_owner_creates_tables_and_grants_access(running: Running) -> None:
    async with connected(running.urls.direct) as owner:
        await owner.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        await owner.execute("CREATE TABLE notes (word text)")
        await owner.execute("GRANT SELECT ON notes TO interalpha_app, interalpha_worker")
    for url in (running.urls.app, running.urls.worker):
        async with connected(url) as client:
            assert await client.fetch("SELECT * FROM notes") == []
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await client.execute("INSERT INTO notes VALUES ('no')")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await client.execute("CREATE TABLE mine ()")


async def test_the_superuser_creates_databases_for_tests(running: Running) -> None:
    async with connected(running.stores.superuser_url) as superuser:
        await superuser.execute("CREATE DATABASE copy TEMPLATE interalpha OWNER interalpha_migrate")
        assert await superuser.fetchval("SELECT count(*) FROM pg_database WHERE datname = 'copy'") == 1


async def test_text_is_sorted_by_bytes_and_letters_beyond_ascii_are_known(running: Running) -> None:
    async with connected(running.urls.app) as client:
        rows = await client.fetch("SELECT word FROM unnest(ARRAY['é', 'b', 'Z', 'a']) AS word ORDER BY word")
        assert [row["word"] for row in rows] == ["Z", "a", "b", "é"]
        assert await client.fetchval("SELECT upper('ação')") == "AÇÃO"


async def test_a_wrong_password_is_refused(running: Running) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(running.urls.app, password="guessed", timeout=5)
    address = urlsplit(running.urls.redis)
    async with Redis(host=str(address.hostname), port=address.port or 0, password="guessed", retry=None) as client:
        with pytest.raises(AuthenticationError):
            await client.ping()


async def test_the_stores_listen_on_the_loopback_address_only(running: Running) -> None:
    for url in (running.urls.app, running.urls.redis):
        port = urlsplit(url).port
        assert port
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError):
            # A server that listens on every address would answer on this one too.
            socket.create_connection(("127.0.0.2", port), timeout=5).close()
    async with connected(running.stores.superuser_url) as client:
        assert await client.fetchval("SHOW unix_socket_directories") == ""


async def test_only_the_owner_can_read_their_files(running: Running) -> None:
    assert stat.S_IMODE(running.folder.stat().st_mode) == 0o700
    for path in running.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((running.folder / "valkey" / "valkey.conf").stat().st_mode) == 0o600
    assert not (running.folder / "postgres.password").exists()


async def test_no_password_is_in_the_process_list_or_in_the_logs(running: Running) -> None:
    passwords = json.loads((running.folder / "secrets.json").read_text()).values()
    seen = "".join(log.read_text() for log in running.folder.glob("*.log"))
    for pid in server_pids(running.folder):
        assert str(running.folder) in command_line(pid)
        seen += command_line(pid) + Path(f"/proc/{pid}/environ").read_text()
    assert len(passwords) == len(set(passwords)) == 5
    assert not [password for password in passwords if password in seen]


async def test_the_stores_do_not_get_the_providers_keys(running: Running) -> None:
    for pid in server_pids(running.folder):
        names = {entry.split("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if entry}
        assert names <= {"PATH", "LC_ALL", "TZ", "PGLOCALEDIR", "PGSYSCONFDIR"}


async def test_an_interrupt_in_the_terminal_does_not_reach_the_stores(running: Running) -> None:
    assert all(os.getpgid(pid) == pid != os.getpgrp() for pid in server_pids(running.folder))


async def test_a_second_instance_on_the_folder_is_refused_with_advice(running: Running) -> None:
    with pytest.raises(FolderInUse, match="--data"):
        await Stores(running.folder).start()
    with pytest.raises(FolderInUse):
        await Stores(running.folder).erase()
    async with connected(running.urls.app) as client:
        assert await client.fetchval("SELECT 1") == 1


async def test_a_store_with_an_external_url_is_not_started(tmp_path: Path) -> None:
    async with Stores(tmp_path, postgres=False) as urls:
        assert urls.redis
        assert {getattr(urls, field.name) for field in fields(urls)} == {"", urls.redis, urls.valkey_version}
    assert not (tmp_path / "postgres").exists()
