"""Rules between settings that more than one group has."""

from collections.abc import Iterator, Mapping

from core.settings.problems import Problem


def together(given: Mapping[str, str], *names: str) -> Iterator[Problem]:
    """Yield each of `names` that is missing while another is set."""
    there = [name for name in names if name in given]
    for name in names:
        if there and name not in given:
            yield Problem(name, f"is missing: {there[0]} is set, and is of no use without it", missing=True)
