"""A place for each city, and a voice: what a run found is printed whether or not it passed."""

import sys

import pytest

from tests.faults.runs import PrintLine


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> PrintLine:
    """Print past pytest's capture."""

    def say(words: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"{words}\n")
            sys.stdout.flush()

    return say
