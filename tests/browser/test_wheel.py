"""The wheel carries the pages built, with the licences of what is in them. `make browser` has built them before."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.house.sources import ROOT


def test_the_wheel_carries_the_explorer_and_its_licences(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, made.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        licences = archive.read("api/pages/graphiql/LICENSES.txt").decode()
    assert {"api/pages/graphiql/index.html", "api/pages/unbuilt.html"} <= set(names)
    assert len([name for name in names if name.startswith("api/pages/graphiql/assets/")]) > 10
    for package in ("graphiql", "monaco-editor", "react", "graphql-ws"):
        assert f"\n{package} " in licences
    assert [name for name in names if "node_modules" in name] == []
