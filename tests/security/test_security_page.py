"""docs/explanation/security.md names tests that are there, and every test that attacks is named in it."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/explanation/security.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|")]
NAMED = set(re.findall(r"`([a-z]+/test_\w+\.py)`", PAGE))


def test_every_test_the_page_names_is_there() -> None:
    assert len(NAMED) > 20
    assert [name for name in sorted(NAMED) if not (TESTS / name).is_file()] == []


def test_every_threat_has_a_defence_or_a_test() -> None:
    threats = [row for row in ROWS if not re.match(r"\| threat \||\|-", row)]
    assert len(threats) > 35
    for row in threats:
        threat, _, test = (cell.strip() for cell in row.strip("|").split("|"))
        assert threat, row
        assert re.search(r"`[a-z]+/test_\w+\.py`", test), row


def test_every_attack_test_is_on_the_page() -> None:
    attacks = {f"security/{file.name}" for file in (TESTS / "security").glob("test_*.py")}
    assert attacks - NAMED == set()
