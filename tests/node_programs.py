"""Installs the packages of Node.js programs and runs them to their end."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from devkit.pages import Npm

_INSTALL_SECONDS = 300


async def npm_run(npm: Npm, folder: Path, *arguments: str) -> None:
    """Run npm; raise AssertionError with its output where it fails."""
    await run_program([*npm.command, *arguments], folder, npm.environment, _INSTALL_SECONDS)


async def run_program(arguments: list[str], folder: Path, environment: Mapping[str, str], seconds: float) -> bytes:
    """Run a program to its end; return its output."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *arguments, cwd=folder, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        printed, errors = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{arguments}\n{printed.decode()}\n{errors.decode()}"
    return printed


async def install(npm: Npm, folder: Path) -> None:
    """Install a project's packages from its lock unless they are installed, without running their scripts."""
    mark = folder / "node_modules" / ".package-lock.json"
    if not mark.exists() or mark.stat().st_mtime < (folder / "package-lock.json").stat().st_mtime:
        await npm_run(npm, folder, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        mark.touch()


def node(npm: Npm) -> str:
    """Return the Node that npm runs on: the downloaded one by its path, the installed one by its name."""
    return "node" if len(npm.command) == 1 else npm.command[0]


async def is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
