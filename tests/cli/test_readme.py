"""Each command of the README is run as written, beside a running `make dev`."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.processes import Dev, cli_environment, wait_until

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# What these would start is running already: `dev` as the fixture, `test` as this very run. make knows them, at least.
STARTED_ALREADY = ("make dev", "make test")


@dataclass(frozen=True)
class Block:
    """One command block, and the text before it."""

    text: str

    @property
    def is_endless(self) -> bool:
        return "curl -N" in self.text


BLOCKS = [Block(match[1].strip()) for match in re.finditer(r"```sh\n(.*?)```", README, re.DOTALL)]
TRIED = [block for block in BLOCKS if block.text not in STARTED_ALREADY]


class Terminal:
    """Another terminal beside `dev`: a shell in the project's folder that keeps its environment."""

    def __init__(self, dev: Dev) -> None:
        self._port = str(dev.port)
        self._environment = cli_environment(dev.folder, LANG="C.UTF-8")
        self._told: list[str] = []

    def script(self, block: Block) -> str:
        here = block.text.replace("localhost:8000", f"localhost:{self._port}")
        # The environment that runs the tests is the one that `make dev` made.
        return here.replace(". .venv/bin/activate", f'export PATH="{Path(sys.executable).parent}:$PATH"')

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        script = "\n".join([*self._told, self.script(block)])
        if re.match(r"\. |export ", block.text):
            self._told.append(self.script(block))
        return subprocess.run(
            ["bash", "-euc", script],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def open(self, block: Block) -> "subprocess.Popen[bytes]":
        script = "\n".join([*self._told, "exec " + self.script(block)])
        return subprocess.Popen(
            ["bash", "-euc", script],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


@pytest.mark.slow
def test_every_command_block_of_the_readme_works(dev: Dev) -> None:
    terminal, outputs = Terminal(dev), {}
    for block in TRIED:
        if not block.is_endless:
            done = terminal.run(block)
            assert done.returncode == 0, (block.text, done.stdout, done.stderr)
            outputs[block.text.splitlines()[0]] = done.stdout
    said = "\n".join(outputs.values())
    assert "delivered" in said
    assert '"isReplay":false' in said
    assert "refused, as it should be" in said
    assert "POST /webhooks/whatsapp 204" in said
    assert "30005" in said
    assert "550 5.1.1" in said


@pytest.mark.slow
def test_the_live_subscription_of_the_readme_shows_a_message_move(dev: Dev) -> None:
    terminal = Terminal(dev)
    [endless] = [block for block in TRIED if block.is_endless]
    for block in TRIED:
        if block.text.startswith((". ", "export ")):
            terminal.run(block)
    curl = terminal.open(endless)
    assert curl.stdout is not None
    os.set_blocking(curl.stdout.fileno(), False)
    seen = b""

    def shows(part: bytes) -> bool:
        nonlocal seen
        seen += curl.stdout.read() or b""  # type: ignore[union-attr]
        return part in seen

    try:
        wait_until(lambda: shows(b":"))
        send = next(block for block in TRIED if "send sms" in block.text and "||" not in block.text)
        assert terminal.run(send).returncode == 0
        wait_until(lambda: shows(b'"status":"DELIVERED"'))
    finally:
        curl.kill()
        curl.communicate()


@pytest.mark.parametrize("command", STARTED_ALREADY)
def test_the_readme_names_the_two_commands_and_make_has_them(command: str) -> None:
    assert command in {block.text for block in BLOCKS}
    dry = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, timeout=20, check=False)
    assert dry.returncode == 0


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
