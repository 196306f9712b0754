"""Finds the integrations: every package here that defines `INTEGRATION`. There is no other list."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

import integrations
from core.ports import Integration


@cache
def all_integrations() -> Mapping[str, Integration]:
    """Return the cards by name, in alphabetical order."""
    packages = sorted(module.name for module in pkgutil.iter_modules(integrations.__path__) if module.ispkg)
    cards = (getattr(import_module(f"integrations.{name}"), "INTEGRATION", None) for name in packages)
    return MappingProxyType({card.name: card for card in cards if isinstance(card, Integration)})
