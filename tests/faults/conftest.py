"""A place for each city, and a voice: what a run found is printed whether or not it passed."""

import sys
from collections.abc import Callable

import pytest

Tell = Callable[[str], None]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print past pytest's capture."""

    def say(words: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"{words}\n")
            sys.stdout.flush()

    return say
