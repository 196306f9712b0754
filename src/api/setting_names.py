"""The names of settings: which are ours, and what a misspelled one was meant to be."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from core.settings import CoreSettings, Problem, describe
from integrations.registry import all_integrations

OUR_PREFIX = "INTERALPHA_"
# What commands, the Makefile and the examples read; each is documented, and none is a setting of the server.
_OTHERS = ("PORT", "INTERALPHA_API_KEY", "INTERALPHA_API_KEY_FILE", "INTERALPHA_URL")
# Names that other programs give to variables of theirs, and that are close to one of ours.
_OF_OTHERS = frozenset({"DATABASE_USER", "LOGLEVEL"})
# What Kubernetes and Docker set for each service beside us, one called INTERALPHA or SMTP among them:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)")
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
    for name in sorted(environment.keys() - known - _OF_OTHERS):
        if _is_service(name, environment[name]):
            continue
        if name != name.upper() and name.upper() in known:
            if "_" in name:
                yield Problem(name, f"is not read: names of settings are in capitals, {name.upper()}")
        elif name.endswith("_FILE") and name.removesuffix("_FILE") in known:
            plain = name.removesuffix("_FILE")
            yield Problem(name, f"is not read: {plain} is not a secret: set it to its value, not to a file's name")
        elif meant := _meant(name.upper(), known):
            yield Problem(name, f"is not a known setting: did you mean {' or '.join(meant)}?")
        elif name.startswith(OUR_PREFIX):
            *others, last = sorted(one for one in known if one.startswith(OUR_PREFIX))
            yield Problem(name, f"is not a known setting: those that begin so are {', '.join(others)} and {last}")


def _is_service(name: str, text: str) -> bool:
    return bool(_SERVICE.fullmatch(name)) or (name.endswith("_PORT") and re.match(r"\w+://", text) is not None)


def _meant(name: str, known: frozenset[str]) -> Sequence[str]:
    bare = name.removeprefix(OUR_PREFIX)
    if name.startswith(OUR_PREFIX):
        ours = {one.removeprefix(OUR_PREFIX): one for one in sorted(known) if one.startswith(OUR_PREFIX)}
        near = [ours[one] for one in difflib.get_close_matches(bare, ours, n=1, cutoff=_FAINT)]
        return [bare] if bare in known else near or _nearest(bare, known)
    return _nearest(name, known)


def _nearest(name: str, known: frozenset[str]) -> Sequence[str]:
    """Names that differ in a letter or two; of one provider also those of which it has only some words, or parts."""
    bare = _letters(name)
    if same := [one for one in sorted(known) if _letters(one) == bare or _is_swapped(_letters(one), bare)]:
        return same
    if "_" in name and (close := difflib.get_close_matches(name, sorted(known), n=1, cutoff=_CLOSE)):
        return close
    provider, _, rest = name.partition("_")
    if not rest or provider not in _providers():
        return []
    # The plain name stands for the one of its file, too.
    plain = [one for one in known if not one.endswith("_FILE") or name.endswith("_FILE")]
    found = [one for one in plain if one.startswith(f"{provider}_") and _has_words(one, rest)]
    return sorted(found, key=lambda one: (len(one), one))[:_MOST]


@cache
def _letters(name: str) -> str:
    """Leave out what separates words: SMTP-HOST and SMTPHOST are SMTP_HOST."""
    return re.sub(r"[^A-Z0-9]", "", name)


def _is_swapped(one: str, other: str) -> bool:
    """Whether two neighbouring letters changed places."""
    places = [place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]]
    if len(one) != len(other) or len(places) != 2 or places[1] != places[0] + 1:
        return False
    return one[places[0]] == other[places[1]] and one[places[1]] == other[places[0]]


@cache
def _providers() -> frozenset[str]:
    cards = all_integrations().values()
    return frozenset(one.name.partition("_")[0] for card in cards for one in describe(card.settings)) - {"NEXT"}


def _has_words(name: str, words: str) -> bool:
    """Whether the words stand in a name in this order, each perhaps cut short: USER in SMTP_USERNAME."""
    parts = iter(name.split("_")[1:])
    return all(len(word) > 2 and any(part.startswith(word) for part in parts) for word in words.split("_"))
