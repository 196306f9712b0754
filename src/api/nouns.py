"""Finds the nouns, every package of core with a `noun.py`, and puts their contributions together."""

import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType

import core
from core.counters import Counters
from core.dead_letters.subjects import Subjects
from core.errors import BrokenContribution
from core.inbox.events import EventTypes
from core.nouns import Noun, PersonalData


@cache
def all_nouns() -> Mapping[str, Noun]:
    """Return the nouns by name, in alphabetical order; importing them defines their tables.

    Raises BrokenContribution.
    """
    found: dict[str, Noun] = {}
    for package in sorted(module.name for module in pkgutil.iter_modules(core.__path__) if module.ispkg):
        if find_spec(f"core.{package}.noun") is None:
            continue
        noun = getattr(import_module(f"core.{package}.noun"), "NOUN", None)
        if not isinstance(noun, Noun) or noun.name != package:
            raise BrokenContribution(f"core/{package}/noun.py must define NOUN, a Noun with the name {package}")
        found[package] = noun
    return MappingProxyType(found)


@dataclass(frozen=True, slots=True)
class Contributions:
    """What all nouns contribute, put together and checked."""

    nouns: Mapping[str, Noun]
    events: EventTypes
    subjects: Subjects
    counters: Counters

    @property
    def personal_data(self) -> Sequence[PersonalData]:
        """How each noun that holds data of people erases, exports and expires it."""
        return [noun.personal_data for noun in self.nouns.values() if noun.personal_data is not None]


def contributions(nouns: Mapping[str, Noun] | None = None) -> Contributions:
    """Put the contributions of all nouns together. Raises BrokenContribution, naming what does not fit."""
    nouns = all_nouns() if nouns is None else nouns
    _refuse_twice("changes of", [one.subject for noun in nouns.values() for one in noun.changes])
    _refuse_twice("tenant resource", [one.kind for noun in nouns.values() for one in noun.resources])
    return Contributions(
        nouns,
        EventTypes(
            [event for noun in nouns.values() for event in noun.events],
            [owner for noun in nouns.values() for owner in noun.owners],
        ),
        Subjects([subject for noun in nouns.values() for subject in noun.subjects]),
        Counters([counter for noun in nouns.values() for counter in noun.counters]),
    )


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BrokenContribution(f"the {what} {name} is contributed twice")
