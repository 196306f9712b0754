"""Settings for integrations nobody configured: the dummies of their `example.env`, and where their simulators listen.

In an `example.env` a name behind a # without a value says where the simulator is.
"""

import io
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from dotenv import dotenv_values

from api.configuration import Configuration
from api.embedded.folder import LOOPBACK
from core.settings import State

_ADDRESS = re.compile(r"^# ([A-Z_]+)=$", re.MULTILINE)
_OWN_PORTS = {"smtp": "SIMULATORS_SMTP_PORT", "smtps": "SIMULATORS_SMTPS_PORT"}


def to_simulate(configuration: Configuration) -> Sequence[str]:
    """Name the integrations that are not configured and have a simulator."""
    return [
        name
        for name, one in configuration.integrations.items()
        if one.state is State.ABSENT
        and one.card.connect is not None
        and find_spec(f"integrations.{name}.simulator") is not None
    ]


def dummies(names: Sequence[str]) -> dict[str, str]:
    """Return the accounts that adapter and simulator agree on."""
    values: dict[str, str] = {}
    for name in names:
        values |= {key: text for key, text in dotenv_values(stream=io.StringIO(_example(name))).items() if text}
    return values


def addresses(names: Sequence[str], announced: Mapping[str, Any]) -> dict[str, str]:
    """Return where the simulators are, as their process has announced it."""
    return {
        variable: _address(variable, name, announced) for name in names for variable in _ADDRESS.findall(_example(name))
    }


def ports(announced: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings by which a new process of the simulators listens where the one before it did."""
    own = {variable: str(announced[key]) for key, variable in _OWN_PORTS.items() if key in announced}
    return {"SIMULATORS_PORT": announced["http"].rpartition(":")[2], **own}


def _example(name: str) -> str:
    return files(f"integrations.{name}").joinpath("example.env").read_text(encoding="utf-8")


def _address(variable: str, name: str, announced: Mapping[str, Any]) -> str:
    if variable.endswith("_HOST"):
        return LOOPBACK
    return str(announced[name]) if variable.endswith("_PORT") else f"{announced['http']}/{name}"
