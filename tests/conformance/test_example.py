"""The example client: typed by the current schema, compiled strictly, and run as its README says."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.settings.values import Manifest, read_manifest
from devkit.pages import Npm
from tests.cli.processes import running_dev, wait_until
from tests.house.sources import ROOT
from tests.node_programs import install, npm_run

EXAMPLE = ROOT / "examples" / "typescript"


@pytest.fixture(scope="module")
async def compiled(npm: Npm) -> Path:
    """The example, built with its own command."""
    await install(npm, EXAMPLE)
    await npm_run(npm, EXAMPLE, "run", "build")
    return EXAMPLE / "dist"


@dataclass(frozen=True)
class Terminal:
    """A shell in the example's folder of a project in which `make dev` runs; ENVIRONMENT is what a person has set."""

    folder: Path
    environment: dict[str, str]

    def run(self, script: str, **extra: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **extra}
        bash = ["bash", "-euc", script]
        return subprocess.run(
            bash, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture(scope="module")
async def terminal(npm: Npm, compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Terminal]:
    project = tmp_path_factory.mktemp("project")
    for name in ("schema.graphql", ".venv", "docs"):
        (project / name).symlink_to(ROOT / name)
    folder = project / "examples" / "typescript"
    shutil.copytree(EXAMPLE, folder, symlinks=True, ignore=shutil.ignore_patterns("node_modules", "dist", "graphql"))
    (folder / "node_modules").symlink_to(EXAMPLE / "node_modules")
    tools = project / "tools"
    tools.mkdir()
    (tools / "npm").write_text(f'#!/bin/sh\nexec {shlex.join(npm.command)} "$@"\n')
    (tools / "npm").chmod(0o755)
    environment = {"PATH": f"{tools}:{npm.path}", "HOME": str(project), "LANG": "C.UTF-8"}
    with running_dev(project / ".interalpha") as dev:
        address = {} if dev.port == 8000 else {"INTERALPHA_URL": f"http://localhost:{dev.port}/graphql"}
        yield Terminal(folder, {**environment, **address})


def steps() -> tuple[str, str]:
    """Return the commands of its README: those that end, and the last one, which does not."""
    [block] = re.findall(r"```sh\n(.*?)```", (EXAMPLE / "README.md").read_text(), re.DOTALL)
    # The packages are installed from the lock already.
    *those, last = block.replace("npm ci\n", "").strip().splitlines()
    return "\n".join(those), last


def test_the_commands_of_its_readme_work(terminal: Terminal) -> None:
    first, last = steps()
    done = terminal.run(first)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DELIVERED" in done.stdout
    prepare, send = without_build(first)
    with (terminal.folder / "watched").open("w+") as watched:
        command = ["bash", "-euc", f"{prepare}\n{last}"]
        options = {"cwd": terminal.folder, "env": terminal.environment, "start_new_session": True}
        process = subprocess.Popen(command, stdout=watched, stderr=subprocess.STDOUT, **options)  # type: ignore[call-overload]

        def is_shown() -> bool:
            # It does not report when it is subscribed, and what was sent before is not shown.
            assert terminal.run(f"{prepare}\n{send}").returncode == 0
            return " SMS +55 11 9••••-4321 SENT → DELIVERED" in (terminal.folder / "watched").read_text()

        try:
            wait_until(is_shown, 60)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def without_build(first: str) -> tuple[str, str]:
    """Return what prepares a terminal, and the command that sends."""
    *prepare, send = first.replace("npm run build\n", "").splitlines()
    return "\n".join(prepare), send


def test_an_error_is_one_sentence_and_exit_status_1(terminal: Terminal) -> None:
    prepare, _ = without_build(steps()[0])
    for command, extra, error in (
        ('npm run -s send -- "+55 11 90003-0005" x', {}, ""),
        ('npm run -s send -- "+55 11 8765-4321" x', {}, "InvalidInputError: "),
        ("npm run -s send", {}, "Give a phone number and a text: "),
        ('TOKEN=iadev_x npm run -s send -- "+55 11 98765-4321" x', {}, "UNAUTHENTICATED: "),
        (
            'npm run -s send -- "+55 11 98765-4321" x',
            {"INTERALPHA_URL": "http://127.0.0.1:9/graphql"},
            "No answer from",
        ),
        ("npm run -s watch", {"INTERALPHA_URL": "http://127.0.0.1:9/graphql"}, "No answer from http://127.0.0.1:9"),
    ):
        done = terminal.run(f"{prepare}\n{command}", **extra)
        assert done.returncode == 1, (command, done.stdout, done.stderr)
        assert error in done.stderr, (command, done.stderr)
        assert "    at " not in done.stderr, done.stderr


def test_its_manifest_can_be_trusted(compiled: Path) -> None:
    manifest = read_manifest(str(EXAMPLE / "src" / "graphql" / "persisted-documents.json"))
    assert isinstance(manifest, Manifest)
    names = [re.match(r"\w+ (\w+)", document) for document in manifest.documents.values()]
    assert sorted(name[1] for name in names if name) == ["FollowOne", "Send", "Watch"]


async def test_what_the_schema_forbids_does_not_compile(npm: Npm, compiled: Path, tmp_path: Path) -> None:
    source = EXAMPLE / "src" / "wrong.ts"
    source.write_text(
        "import { ask } from './client.js'\nimport { SendDocument } from './graphql/graphql.js'\n"
        "await ask(SendDocument, { input: { to: { phone: '+5511987654321', email: 'ana@example.com' },"
        " content: { text: 'Oi' }, route: [{ channel: 'SMS' }] } })\n"
    )
    try:
        with pytest.raises(AssertionError, match="email"):
            await npm_run(npm, EXAMPLE, "exec", "--", "tsc", "--noEmit")
    finally:
        source.unlink()
