"""No package of ours imports another that imports it, and no module is part of a cycle of imports."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.house.sources import SRC

Graph = Mapping[str, set[str]]


def modules_below(folder: Path) -> dict[str, Path]:
    """The modules below a folder, by their dotted names."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(statements: Iterable[ast.AST]) -> Iterator[str]:
    """The dotted names that statements import; of `from a import b` both `a` and `a.b`."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)


def at_import_time(tree: ast.Module) -> Iterator[ast.AST]:
    """The statements of a module that run when it is imported: no bodies of functions, nothing for type checkers."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        yield node
        todo += ast.iter_child_nodes(node)


def module_graph(folder: Path, *, lazy: bool) -> Graph:
    """Which module imports which; with `lazy` also inside functions and for type checkers."""
    modules = modules_below(folder)
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        found = set(imports_of(ast.walk(tree) if lazy else at_import_time(tree)))
        graph[name] = {one for one in found if one in modules and one != name}
        if not lazy:
            # `from core.access import tables` needs the module; that its package is imported first is no cycle.
            named = graph[name]
            graph[name] = {one for one in named if not any(other.startswith(f"{one}.") for other in named)}
    return graph


def package_graph(folder: Path) -> Graph:
    """Which package or single file of the second level imports which other."""
    graph: dict[str, set[str]] = {}
    for name, imported in module_graph(folder, lazy=True).items():
        package = second_level(name)
        others = {second_level(one) for one in imported} - {package}
        # A top-level package's own __init__ is no layer of its own.
        graph.setdefault(package, set()).update(one for one in others if "." in one)
    return graph


def second_level(name: str) -> str:
    return ".".join(name.split(".")[:2])


def cycle_in(graph: Graph) -> list[str]:
    """One cycle of a graph, each node importing the next; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found[::-1]
    return []


def test_no_two_packages_import_each_other() -> None:
    graph = package_graph(SRC)
    # Packages of core and packages of resolvers are compared.
    for layer in ("core", "resolvers"):
        assert f"{layer}.templates" in graph[f"{layer}.messages"]
    assert cycle_in(graph) == []


def test_no_modules_import_each_other() -> None:
    assert cycle_in(module_graph(SRC, lazy=False)) == []


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_cycle_would_be_noticed(tmp_path: Path) -> None:
    write(
        tmp_path,
        core__one__a="from core.two import b",
        core__two__b="def f():\n    from core.one.c import x",
        core__one__c="import core.three",
        core__three="from core.one.c import y",
    )
    assert set(cycle_in(module_graph(tmp_path, lazy=False))) == {"core.one.c", "core.three"}
    (tmp_path / "core/three.py").write_text("x = 1")
    assert cycle_in(module_graph(tmp_path, lazy=False)) == []
    # The function's import is late, and still one package's of another.
    assert set(cycle_in(package_graph(tmp_path))) == {"core.one", "core.two"}
    (tmp_path / "core/two/b.py").write_text("from core.three import x")
    assert cycle_in(package_graph(tmp_path)) == []
