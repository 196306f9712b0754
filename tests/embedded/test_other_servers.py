"""Other servers on PATH and damaged files: the stores start, and no data is lost."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from devkit.embedded import valkey
from devkit.embedded.folder import EmbeddedStoreError
from devkit.embedded.stores import Stores
from tests.embedded.helpers import keep_key, keep_row, kept_key, kept_rows, running_servers
from tests.house.sources import ROOT

# Redis itself: `.ci/run` unpacks Debian's package into this folder, so that no other test finds it on PATH.
_UNPACKED = ROOT / ".cache" / "redis" / "usr"
INSTALLED = shutil.which("redis-server", path=f"{_UNPACKED / 'bin'}:/usr/bin:/usr/local/bin")
REFUSING = "echo 'Bad file format reading the append only file appendonly.aof.1.base.rdb'\nexit 1\n"


def put_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, name: str = "redis-server") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def passing_on() -> str:
    """Return a script for PATH that runs the packaged server."""
    return f'exec {valkey._embedded()} "$@"\n'


def set_aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("valkey-set-aside-*/appendonlydir"))


async def test_a_server_added_to_path_later_does_not_open_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    async with Stores(data, postgres=False) as urls:
        assert urls.valkey_version.startswith("Valkey 9.")
        await keep_key(urls.redis, "here")
    put_on_path(monkeypatch, tmp_path / "bin", REFUSING)
    async with Stores(data, postgres=False) as urls:
        assert urls.valkey_version.startswith("Valkey 9.")
        assert await kept_key(urls.redis) == b"here"
    # The same for a folder of an earlier version, which did not record the server that wrote it.
    (data / "valkey" / "server.json").unlink()
    async with Stores(data, postgres=False) as urls:
        assert await kept_key(urls.redis) == b"here"
    assert set_aside(data) == []


async def test_the_server_that_wrote_the_data_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    put_on_path(monkeypatch, tmp_path / "bin", passing_on())
    async with Stores(data, postgres=False) as urls:
        await keep_key(urls.redis, "here")
        [line] = [line for line in running_servers(data) if "valkey.conf" in line]
    put_on_path(monkeypatch, tmp_path / "newer", REFUSING, "valkey-server")
    async with Stores(data, postgres=False) as urls:
        assert await kept_key(urls.redis) == b"here"
        assert running_servers(data) == [line]
    # The other server is gone, and the packaged one can read its data.
    (tmp_path / "bin" / "redis-server").unlink()
    async with Stores(data, postgres=False) as urls:
        assert await kept_key(urls.redis) == b"here"
    assert set_aside(data) == []


async def test_data_that_no_server_can_read_is_moved_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    damages = {
        "a file of a newer version": ("*.base.rdb", b"REDIS9999" + bytes(40)),
        "garbage in the middle": ("*.incr.aof", b"*1\r\n$4\r\nPING\r\n" + b"\xff" * 64 + b"*1\r\n$4\r\nPING\r\n"),
        "a manifest that is none": ("*.manifest", b"\x00" * 32),
    }
    for name, (pattern, damage) in damages.items():
        async with Stores(data, postgres=False) as urls:
            await keep_key(urls.redis, "here")
        put_on_path(monkeypatch, tmp_path / "bin", REFUSING)
        [file] = (data / "valkey" / "appendonlydir").glob(pattern)
        file.write_bytes(damage)
        before = set_aside(data)
        with caplog.at_level(logging.WARNING):
            async with Stores(data, postgres=False) as urls:
                assert await kept_key(urls.redis) is None, name
        [kept] = [path for path in set_aside(data) if path not in before]
        assert (kept / file.name).read_bytes() == damage, name
        assert str(kept.parent) in caplog.text
        assert "starts empty" in caplog.text


async def test_a_file_cut_off_by_a_power_failure_does_not_prevent_a_start(tmp_path: Path) -> None:
    async with Stores(tmp_path, postgres=False) as urls:
        await keep_key(urls.redis, "here")
    [file] = (tmp_path / "valkey" / "appendonlydir").glob("*.incr.aof")
    with file.open("ab") as tail:
        tail.write(b"*3\r\n$3\r\nSET\r\n$4\r\nke")
    async with Stores(tmp_path, postgres=False) as urls:
        assert await kept_key(urls.redis) == b"here"
    assert set_aside(tmp_path) == []


async def test_data_stays_where_a_server_ends_for_another_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    put_on_path(monkeypatch, tmp_path / "bin", passing_on())
    async with Stores(data, postgres=False) as urls:
        await keep_key(urls.redis, "here")
    put_on_path(monkeypatch, tmp_path / "bin", "echo 'no such luck'\nexit 1\n")
    with pytest.raises(EmbeddedStoreError, match=r"(?s)valkey\.log:\nno such luck\n.*REDIS_URL"):
        await Stores(data, postgres=False).start()
    put_on_path(monkeypatch, tmp_path / "bin", passing_on())
    async with Stores(data, postgres=False) as urls:
        assert await kept_key(urls.redis) == b"here"


async def test_without_data_a_server_that_does_not_work_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, script in enumerate(("exit 1\n", "echo 'no such luck'\nexit 1\n")):
        put_on_path(monkeypatch, tmp_path / "bin", script)
        async with Stores(tmp_path / f"data{number}", postgres=False) as urls:
            assert urls.valkey_version.startswith("Valkey 9.")


def test_a_redis_without_the_needed_commands_is_too_old() -> None:
    assert [
        one
        for one in ("Redis 5.0.14", "Redis 6.0.16", "Redis 6.2.0", "Redis 7.0.15", "Valkey 9.1.2")
        if valkey._is_too_old(one)
    ] == ["Redis 5.0.14", "Redis 6.0.16"]


async def test_data_of_another_postgresql_version_is_refused_and_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A PostgreSQL on PATH is never used: it may have another major version.
    put_on_path(monkeypatch, tmp_path / "bin", "exit 1\n", "postgres")
    data = tmp_path / "data"
    async with Stores(data, redis=False) as urls:
        assert urls.postgres_version.startswith("18.")
        await keep_row(urls.direct, "here")
    version = data / "postgres" / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(EmbeddedStoreError, match=r"PostgreSQL 17 wrote .*PostgreSQL 18.* mv .*postgres-17") as refused:
        await Stores(data, redis=False).start()
    assert "Nothing of it was touched" in str(refused.value)
    version.write_text("18\n")
    async with Stores(data, redis=False) as urls:
        assert await kept_rows(urls.direct) == ["here"]


@pytest.mark.skipif(
    INSTALLED is None and "CI" not in os.environ, reason="no redis-server of another make is on this machine"
)
async def test_redis_does_not_open_the_data_of_valkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    async with Stores(ours, postgres=False) as urls:
        await keep_key(urls.redis, "ours")
    libraries = ":".join(sorted({str(file.parent) for file in _UNPACKED.glob("lib/**/*.so*")}))
    put_on_path(monkeypatch, tmp_path / "bin", f'LD_LIBRARY_PATH={libraries} exec {INSTALLED} "$@"\n')
    async with Stores(ours, postgres=False) as urls:
        assert (urls.valkey_version.split()[0], await kept_key(urls.redis)) == ("Valkey", b"ours")
    async with Stores(theirs, postgres=False) as urls:
        assert urls.valkey_version.split()[0] == "Redis"
        await keep_key(urls.redis, "theirs")
    async with Stores(theirs, postgres=False) as urls:
        assert (urls.valkey_version.split()[0], await kept_key(urls.redis)) == ("Redis", b"theirs")
    assert set_aside(ours) + set_aside(theirs) == []
