"""Limits for the size of files and functions, and docstrings for everything public."""

import ast
from collections.abc import Iterator
from pathlib import PurePath

from tests.house.sources import Function, Source, arguments, body_lines, lines, sources

LONGEST_FILE = 500
LONGEST_FUNCTION = 40
LONGEST_RESOLVER = 15
# Names that say nothing of what is inside.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}


def test_there_is_something_to_measure() -> None:
    packages = {source.name.split("/")[0] for source in sources()}
    assert packages == {"api", "core", "devkit", "engine", "integrations", "resolvers"}


def test_no_file_is_too_long() -> None:
    assert [(source.name, source.lines) for source in sources() if source.lines > LONGEST_FILE] == []


def test_no_function_is_too_long() -> None:
    long = [
        (source.name, function.name, lines(function))
        for source in sources()
        for function in source.functions
        if lines(function) > LONGEST_FUNCTION
    ]
    assert long == []


def test_resolvers_only_hand_over() -> None:
    long = [
        (source.name, function.name, body_lines(function))
        for source in sources()
        if source.name.startswith("resolvers/")
        for function in source.functions
        if "info" in arguments(function) and body_lines(function) > LONGEST_RESOLVER
    ]
    assert long == []


def test_names_say_what_is_inside() -> None:
    parts = {part.removesuffix(".py") for source in sources() for part in PurePath(source.name).parts}
    assert parts & EMPTY_NAMES == set()


def test_every_module_says_what_it_is_for() -> None:
    assert [source.name for source in sources() if not ast.get_docstring(source.tree)] == []


def test_everything_public_says_what_it_is() -> None:
    assert [(source.name, name) for source in sources() for name in mute(source)] == []


def mute(source: Source) -> Iterator[str]:
    """Public classes and functions of a module that have neither a docstring nor a description in the schema."""
    for node in source.tree.body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_") or ast.get_docstring(node):
            continue
        if isinstance(node, ast.ClassDef) and any(map(is_described, node.decorator_list)):
            continue
        # What a resolver does is said where the schema names it.
        if isinstance(node, Function) and (node.name == "main" or "info" in arguments(node)):
            continue
        yield node.name


def is_described(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Call) and any(keyword.arg == "description" for keyword in decorator.keywords)
