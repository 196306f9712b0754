"""Finds the integrations: every package here that defines `INTEGRATION`. There is no other list."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

import integrations
from core.errors import BrokenContribution
from core.ports import Integration
from core.settings import IntegrationSettings


@cache
def all_integrations() -> Mapping[str, Integration]:
    """Return the cards by name, in alphabetical order. Raises BrokenContribution for a card that is not complete."""
    packages = sorted(module.name for module in pkgutil.iter_modules(integrations.__path__) if module.ispkg)
    cards = (getattr(import_module(f"integrations.{name}"), "INTEGRATION", None) for name in packages)
    found = {name: card for name, card in zip(packages, cards, strict=True) if isinstance(card, Integration)}
    for name, card in found.items():
        _check(name, card)
    return MappingProxyType(found)


def _check(folder: str, card: Integration) -> None:
    """Refuse a card that would fail only when its integration is used."""
    place = f"integrations/{folder}"
    if card.name != folder:
        raise BrokenContribution(f"the card in {place} has the name {card.name}: a card has the name of its folder")
    if card.connect is not None and card.settings.base_addresses is IntegrationSettings.base_addresses:
        raise BrokenContribution(f"the settings in {place} must define base_addresses, the addresses of its calls")
