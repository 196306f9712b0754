"""The enum of integrations, made from their folders, so that a new one appears by itself."""

import pkgutil
from enum import Enum, EnumType
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import strawberry


def _spoken_to() -> list[str]:
    """The folders with an adapter; looked at, not imported: who they are is not a resolver's business."""
    spec = find_spec("integrations")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = pkgutil.iter_modules(folders)
    return sorted(
        module.name
        for module in found
        if module.ispkg and any((Path(folder) / module.name / "adapter.py").is_file() for folder in folders)
    )


IntegrationKind: Any = strawberry.enum(
    cast("EnumType", Enum("IntegrationKind", {name.upper(): name for name in _spoken_to()})),
    name="IntegrationKind",
    description="The integrations found here; built from their folders, so a new one appears by itself.",
)
