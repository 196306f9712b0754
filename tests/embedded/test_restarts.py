"""Data and processes after a stop, a crash, a killed parent or an unfinished start."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from devkit.embedded import postgres, valkey
from devkit.embedded.folder import MARKER, choose_port, mark
from devkit.embedded.stores import Stores
from tests.embedded.helpers import (
    connected,
    eventually,
    keep_key,
    keep_row,
    kept_key,
    kept_rows,
    running_servers,
    server_pids,
    stores_of_another_process,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / 'a "quoted" folder' / ".interalpha"


async def test_a_stop_leaves_no_process_and_the_next_start_finds_everything(folder: Path) -> None:
    async with Stores(folder) as first:
        await keep_row(first.direct, "before")
        await keep_key(first.redis, "before")
        assert len(running_servers(folder)) == 2
    assert running_servers(folder) == []
    started = time.monotonic()
    async with Stores(folder) as second:
        assert time.monotonic() - started < 5
        assert second == first, "the ports and passwords of last time"
        assert await kept_rows(second.direct) == ["before"]
        assert await kept_key(second.redis) == b"before"


async def test_what_was_committed_survives_a_kill(folder: Path) -> None:
    stores = Stores(folder)
    urls = await stores.start()
    await keep_row(urls.direct, "committed")
    await keep_key(urls.redis, "answered")
    async with connected(urls.direct) as left_open:
        await left_open.execute("BEGIN; INSERT INTO kept VALUES ('never committed')")
        for pid in server_pids(folder):
            os.kill(pid, signal.SIGKILL)
        await stores.stop()
        async with Stores(folder) as again:
            assert await kept_rows(again.direct) == ["committed"]
            assert await kept_key(again.redis) == b"answered"


@pytest.mark.skipif(not shutil.which("setpriv"), reason="nothing here ties a child's life to its parent's")
async def test_the_stores_end_when_their_parent_is_killed(folder: Path) -> None:
    with stores_of_another_process(folder) as (other, _):
        assert len(running_servers(folder)) == 2
        other.kill()
        await eventually(lambda: running_servers(folder) == [])


async def test_a_server_left_behind_is_used_and_stopped_at_the_end(folder: Path) -> None:
    with stores_of_another_process(folder, "--unleashed") as (other, urls):
        orphans = server_pids(folder)
        await keep_row(urls["direct"], "before")
        other.kill()
    async with Stores(folder) as adopted:
        assert server_pids(folder) == orphans
        assert adopted.direct == urls["direct"]
        assert await kept_rows(adopted.direct) == ["before"]
        assert adopted.valkey_version == urls["valkey_version"]
    assert running_servers(folder) == []


async def test_an_unfinished_database_is_created_again(folder: Path) -> None:
    half = folder / "postgres.new"
    half.mkdir(parents=True)
    mark(folder)
    (half / "PG_VERSION").write_text("18\n")
    async with Stores(folder, durable=False, redis=False) as urls:
        await keep_row(urls.direct, "whole")
    assert not half.exists()


async def test_a_canceled_start_leaves_nothing_running(folder: Path) -> None:
    stores = Stores(folder, durable=False)
    start = asyncio.create_task(stores.start())
    await eventually(lambda: (folder / "postgres.new" / "base").exists())
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert running_servers(folder) == []
    async with stores as urls:
        await keep_row(urls.direct, "all the same")


async def test_a_reused_process_id_is_not_taken_for_a_server(folder: Path) -> None:
    async with Stores(folder, durable=False):
        written = (folder / "postgres" / "postmaster.pid").read_text()
    with subprocess.Popen(["sleep", "60"]) as heir:
        try:
            (folder / "postgres" / "postmaster.pid").write_text("\n".join([str(heir.pid), *written.splitlines()[1:]]))
            (folder / "valkey" / "valkey.pid").write_text(str(heir.pid))
            async with Stores(folder, durable=False):
                assert heir.pid not in server_pids(folder)
            assert heir.poll() is None
        finally:
            heir.kill()


async def test_another_port_is_chosen_when_the_last_one_is_taken(folder: Path) -> None:
    async with Stores(folder, postgres=False) as urls:
        last = urlsplit(urls.redis).port
    with socket.create_server(("127.0.0.1", last or 0)):
        async with Stores(folder, postgres=False) as urls:
            assert urlsplit(urls.redis).port != last


@pytest.mark.parametrize(("module", "wanted"), [(postgres, {"redis": False}), (valkey, {"postgres": False})])
async def test_a_port_taken_at_the_last_moment_is_replaced(
    module: ModuleType, wanted: dict[str, bool], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        choices = [int(taken.getsockname()[1])]
        monkeypatch.setattr(module, "choose_port", lambda memory: choices.pop() if choices else choose_port(memory))
        async with Stores(folder, durable=False, **wanted):
            assert not choices


async def test_temporary_stores_do_not_sync_to_disk(folder: Path) -> None:
    async with Stores(folder, durable=False) as urls:
        async with connected(urls.app) as client:
            assert await client.fetchval("SHOW fsync") == "off"
        assert not list(folder.glob("valkey/append*"))


async def test_erasing_removes_what_the_stores_keep_and_nothing_else(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "of-somebody-else").touch()
    with stores_of_another_process(folder, "--unleashed") as (other, _):
        other.kill()
    await Stores(folder).erase()
    assert running_servers(folder) == []
    assert {path.name for path in folder.iterdir()} == {"of-somebody-else", "lock", MARKER}
