"""What stays for good is not looked at by the collector again and again."""

import gc
from collections.abc import Iterator

import pytest

from api.server import YOUNG, settle


@pytest.fixture
def as_it_was() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("as_it_was")
def test_a_server_that_has_begun_is_left_out_of_collections() -> None:
    lasting: list[list[int]] = [[] for _ in range(1000)]
    settle()
    assert gc.get_freeze_count() > len(lasting)
    assert gc.get_threshold()[0] == YOUNG
    assert not any(one is lasting for one in gc.get_objects())
