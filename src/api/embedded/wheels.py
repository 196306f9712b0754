"""Finding what an installed wheel brought, without importing it: an import would already do work."""

import importlib.util
from pathlib import Path

from api.embedded.errors import EmbeddedStoreError


def find_package(name: str, variable: str) -> Path:
    """Give the folder of an installed package; `variable` is the setting that does without it."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise EmbeddedStoreError(
            f"The package {name} is not installed; it exists for Linux with glibc and for macOS. "
            f"Set {variable} to a server elsewhere"
        )
    return Path(found.origin).parent
