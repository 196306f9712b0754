"""Other files in a folder are neither overwritten nor removed."""

import errno
import json
import os
from pathlib import Path

import pytest

from devkit.embedded.folder import ACCOUNTS, MARKER, EmbeddedStoreError, NotOurs
from devkit.embedded.stores import Stores


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("name", ["postgres", "valkey", "keys", "logs", "secrets.json", "dev.env"])
async def test_a_folder_with_other_files_is_neither_used_nor_erased(name: str, tmp_path: Path) -> None:
    if "." in name or name == "keys":
        (tmp_path / name).write_text("{}")
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text("mine")
    before = everything_in(tmp_path)
    with pytest.raises(NotOurs, match=f"overwritten: {name}.*--data"):
        await Stores(tmp_path).start()
    with pytest.raises(NotOurs, match="is not a data folder of Interalpha; nothing was removed"):
        await Stores(tmp_path).erase()
    assert everything_in(tmp_path) == before


async def test_a_broken_link_counts_as_another_file(tmp_path: Path) -> None:
    (tmp_path / "postgres").symlink_to(tmp_path / "unmounted")
    with pytest.raises(NotOurs, match="postgres"):
        await Stores(tmp_path).start()


async def test_other_files_beside_the_data_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    async with Stores(tmp_path, postgres=False, durable=False):
        assert (tmp_path / MARKER).is_file()
    await Stores(tmp_path).erase()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "valkey").exists()


async def test_a_folder_without_a_marker_is_recognised_by_its_passwords(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps(dict.fromkeys(ACCOUNTS, "drawn-long-ago")))
    (tmp_path / "valkey").mkdir()
    async with Stores(tmp_path, postgres=False, durable=False) as urls:
        assert "drawn-long-ago" in urls.redis
        assert (tmp_path / MARKER).is_file()


async def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(NotOurs, match=r"is a file.*--data"):
        await Stores(file).start()
    with pytest.raises(NotOurs, match="is a file"):
        await Stores(file).erase()
    assert file.read_text() == "mine"


async def test_a_folder_that_cannot_be_written_is_a_readable_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(EmbeddedStoreError, match=r"cannot be written to.*--data"):
            await Stores(tmp_path).start()

    def refuse(*arguments: object, **options: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "lock"))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        with pytest.raises(EmbeddedStoreError, match="lock: Read-only file system") as caught:
            await Stores(tmp_path).start()
    assert "Errno" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
