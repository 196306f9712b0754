"""Keys that say in their own text whether they are secret, and for test or live; several companies write them so."""

import re
from collections.abc import Iterator, Mapping

from core.settings.problems import Problem, WrongValue

_SECRET = re.compile(r"(sk|rk)_(test|live)_|whsec_")
_WITH_MODE = re.compile(r"(?:sk|rk|pk)_(test|live)_")


def holds_secret_key(text: str) -> bool:
    """Say whether a text is a key that no browser may see."""
    return bool(_SECRET.match(text))


def check_publishable_key(text: str) -> str:
    """Accept a publishable key; raises WrongValue for any other, a secret one above all."""
    if holds_secret_key(text):
        raise WrongValue(
            "holds a secret key, and browsers see this variable: put the key that begins with pk_ here, "
            "and replace the secret one in the company's console"
        )
    if not re.fullmatch(r"pk_(test|live)_[A-Za-z0-9+/=_-]+", text):
        raise WrongValue("is not a publishable key: it begins with pk_test_ or pk_live_")
    return text


def mode_problems(given: Mapping[str, str], *names: str) -> Iterator[Problem]:
    """Yield a live key outside production, and keys of both modes side by side."""
    modes = {name: match[1] for name in names if (match := _WITH_MODE.match(given.get(name, "")))}
    if given["APP_ENV"] != "production":
        for name, mode in modes.items():
            if mode == "live":
                yield Problem(name, "is a live key, and APP_ENV is not production: use test keys here")
    if len(set(modes.values())) > 1:
        first, *others = modes
        yield Problem(first, f"is a {modes[first]} key, {' or '.join(others)} is not: take both from the same mode")
