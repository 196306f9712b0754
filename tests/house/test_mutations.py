"""The mutations that prove the faults fit the code: one that fits nowhere, or twice, would prove nothing."""

import pytest

from tests.faults.mutations import MUTATIONS, Mutation
from tests.house.sources import SRC


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.safeguard)
def test_a_mutation_fits_the_code_exactly_once(mutation: Mutation) -> None:
    assert (SRC / mutation.file).read_text().count(mutation.before) == 1
