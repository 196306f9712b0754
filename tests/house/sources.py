"""The files under src, parsed once, with queries on them; and the two schema files."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One Python file; `name` is its path from src."""

    name: str
    lines: int
    tree: ast.Module

    @property
    def functions(self) -> Iterator[Function]:
        """Every function and method, however deep."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


@cache
def sources() -> tuple[Source, ...]:
    found = []
    for path in sorted(SRC.rglob("*.py")):
        text = path.read_text()
        found.append(Source(str(path.relative_to(SRC)), len(text.splitlines()), ast.parse(text)))
    return tuple(found)


def lines(function: Function) -> int:
    """How many lines a function has, from its name to its end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def body_lines(function: Function) -> int:
    """How many lines a function's body has: its arguments are not its work."""
    return (function.end_lineno or function.lineno) - function.body[0].lineno + 1


def arguments(function: Function) -> set[str]:
    return {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}


HORIZON_SCHEMA = (ROOT / "docs" / "reference" / "horizon.graphql").read_text()


SCHEMA_FILE = (ROOT / "schema.graphql").read_text()
