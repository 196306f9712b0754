"""Runs `interalpha` with the folders of the toy noun and the toy provider beside the product's own.

Python finds a package's modules in the folders of its `__path__`: one more there is as good as a file in `src`.
"""

import os
from importlib import import_module
from pathlib import Path

TOY = Path(__file__).parent / "toy"


def add_folders(*without: str) -> None:
    """Add the toy's folders to the packages of the same names, except those named."""
    for package in ("core", "core.ports", "resolvers", "integrations", "api.cli"):
        if package not in without:
            import_module(package).__path__.append(str(TOY.joinpath(*package.split("."))))


if __name__ == "__main__":
    add_folders(*os.environ.get("TOY_WITHOUT", "").split())
    from api.cli import main

    main()
