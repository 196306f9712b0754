"""The safeguards that the fault tests are checked against: the code must have what each entry switches off."""

import ast
from pathlib import Path

import pytest

from core.messages.claim import begin
from core.messages.delivery import ChannelDelivery
from tests.faults.mutations import LONG, ROOT
from tests.faults.patches import NothingToSwitchOff, Patches
from tests.faults.switched_off import SAFEGUARDS

NUMBER = 26


def test_each_safeguard_can_be_switched_off_and_its_test_exists() -> None:
    assert len(SAFEGUARDS) == NUMBER
    assert len({one.name for one in SAFEGUARDS.values()}) == NUMBER
    for one in SAFEGUARDS.values():
        patches = Patches()
        one.switch_off(patches)
        assert patches.undo, one.name
        patches.undo_all()
        file, _, test = one.test.partition("::")
        assert test.partition("[")[0] in _functions_of(ROOT / LONG / file), one.name


def test_what_was_switched_off_is_put_back() -> None:
    before = begin, ChannelDelivery.rest
    for one in SAFEGUARDS.values():
        patches = Patches()
        one.switch_off(patches)
        patches.undo_all()
    assert before == (begin, ChannelDelivery.rest)


def test_a_safeguard_that_the_code_does_not_have_fails_loudly() -> None:
    with pytest.raises(NothingToSwitchOff):
        Patches().swap(_functions_of, _functions_of)


def _functions_of(file: Path) -> set[str]:
    return {
        one.name
        for one in ast.walk(ast.parse(file.read_text()))
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    }
