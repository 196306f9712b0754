"""A fixture that prints the figures of a run, whether or not it passes."""

import sys

import pytest

from tests.faults.runs import PrintLine


@pytest.fixture
def print_line(capsys: pytest.CaptureFixture[str]) -> PrintLine:
    """Print lines that pytest does not capture."""

    def write(words: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"{words}\n")
            sys.stdout.flush()

    return write
