"""The example client: typed by the schema as it is, compiled strictly, and run."""

import re
from pathlib import Path

import pytest

from api.dev.node import Npm
from core.settings.manifest import Manifest, read_manifest
from tests.conformance.conftest import finished, install, node, npm_run
from tests.flows.conftest import System
from tests.house.sources import ROOT

EXAMPLE = ROOT / "examples" / "typescript"


@pytest.fixture(scope="module")
async def compiled(npm: Npm) -> Path:
    """The example, built by its own command."""
    await install(npm, EXAMPLE)
    await npm_run(npm, EXAMPLE, "run", "build")
    return EXAMPLE / "dist"


async def test_it_sends_a_message_and_sees_it_arrive(npm: Npm, compiled: Path, system: System, phone: str) -> None:
    environment = {**npm.environment, "INTERALPHA_URL": f"{system.base}/graphql", "TOKEN": system.token}
    printed = await finished([node(npm), "dist/send.js", phone, "Olá, Ana!"], EXAMPLE, environment, 60)
    lines = printed.decode().split()
    assert lines[0] == "QUEUED"
    assert lines[-1] == "DELIVERED"


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
