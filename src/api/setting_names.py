"""The names of settings: which are ours, and what a misspelled one was meant to be."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from core.settings import CoreSettings, Problem, describe
from integrations.registry import all_integrations

OUR_PREFIX = "INTERALPHA_"
# What commands, the Makefile and the examples read; each is documented, and none is a setting of the server.
_OTHERS = ("PORT", "INTERALPHA_API_KEY", "INTERALPHA_API_KEY_FILE", "INTERALPHA_URL")
_CLOSE, _FAINT = 0.88, 0.6
_MOST = 3


@cache
def known_names() -> frozenset[str]:
    """Every variable that something of ours reads, those that name a secret's file included."""
    groups = [describe(CoreSettings), *(describe(card.settings) for card in all_integrations().values())]
    variables = [variable for group in groups for variable in group]
    names = {name for variable in variables for name in (variable.name, *variable.aliases)}
    files = {f"{name}_FILE" for one in variables if one.secret for name in (one.name, *one.aliases)}
    return frozenset({*names, *files, *_OTHERS})


def misspelled(environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what was probably meant for us and is read by nobody."""
    known = known_names()
    for name in sorted(environment.keys() - known):
        if name != name.upper() and name.upper() in known:
            if "_" in name:
                yield Problem(name, f"is not read: names of settings are in capitals, {name.upper()}")
        elif name.endswith("_FILE") and name.removesuffix("_FILE") in known:
            plain = name.removesuffix("_FILE")
            yield Problem(name, f"is not read: {plain} is no secret, so set it to its value, not to a file's name")
        elif meant := _meant(name.upper(), known):
            yield Problem(name, f"is no setting of ours: did you mean {' or '.join(meant)}?")


def _meant(name: str, known: frozenset[str]) -> Sequence[str]:
    bare = name.removeprefix(OUR_PREFIX)
    if name.startswith(OUR_PREFIX):
        ours = [one for one in known if one.startswith(OUR_PREFIX)]
        nearest = [bare] if bare in known else _nearest(bare, known)
        return nearest or difflib.get_close_matches(name, ours, n=1, cutoff=_FAINT) or ["INTERALPHA_HOME"]
    return _nearest(name, known)


def _nearest(name: str, known: frozenset[str]) -> Sequence[str]:
    """Names that differ in a letter or two; of one provider also those of which it has only some words, or parts."""
    if "_" in name and (close := difflib.get_close_matches(name, sorted(known), n=1, cutoff=_CLOSE)):
        return close
    provider, _, rest = name.partition("_")
    if not rest or provider not in _providers():
        return []
    found = [one for one in known if one.startswith(f"{provider}_") and _has_words(one, rest)]
    return sorted(found, key=lambda one: (len(one), one))[:_MOST]


@cache
def _providers() -> frozenset[str]:
    cards = all_integrations().values()
    return frozenset(one.name.partition("_")[0] for card in cards for one in describe(card.settings)) - {"NEXT"}


def _has_words(name: str, words: str) -> bool:
    """Whether the words stand in a name in this order, each perhaps cut short: USER in SMTP_USERNAME."""
    parts = iter(name.split("_")[1:])
    return all(len(word) > 2 and any(part.startswith(word) for part in parts) for word in words.split("_"))
