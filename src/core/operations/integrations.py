"""What the system knows of its integrations: configured or not, and how; never a secret."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.ports import Mode
from core.settings import Problem, State


@dataclass(frozen=True, slots=True)
class IntegrationView:
    """An integration of this installation. `mode` and `webhook_url` are None while it is not configured."""

    name: str
    title: str
    state: State
    mode: Mode | None
    problems: Sequence[Problem]
    webhook_url: str | None
