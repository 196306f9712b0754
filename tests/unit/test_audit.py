"""The audit of dependencies: what it reports, and that no answer is not a good answer."""

from devkit.audit import Findings, read, verdict

ANSWER = {
    "dependencies": [
        {"name": "good", "version": "1.0", "vulns": []},
        {"name": "bad", "version": "2.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["2.1"]}]},
        {"name": "worse", "version": "3.0", "vulns": [{"id": "GHSA-2", "fix_versions": []}]},
        {"name": "unknown", "skip_reason": "not found"},
    ]
}
CLEAN, PARTLY, NONE = Findings(3, 0, ()), Findings(2, 1, ()), Findings(0, 3, ())


def test_an_answer_is_read() -> None:
    found = read(ANSWER)
    assert (found.known, found.skipped) == (3, 1)
    assert list(found.weaknesses) == [
        "bad 2.0: GHSA-1, mended in 2.1",
        "worse 3.0: GHSA-2, mended in nothing yet",
    ]


def test_a_known_weakness_fails_regardless_of_other_findings() -> None:
    status, text = verdict("a.lock", [NONE, read(ANSWER)])
    assert status == 1
    assert "bad 2.0: GHSA-1, mended in 2.1" in text


def test_every_package_looked_up_and_none_weak_is_well() -> None:
    assert verdict("a.lock", [CLEAN]) == (0, "a.lock: 3 packages, no known weakness")
    assert verdict("a.lock", [PARTLY, CLEAN])[0] == 0


def test_what_was_not_looked_up_is_said_and_fails() -> None:
    for answers in ([], [None, None], [NONE, None]):
        status, text = verdict("a.lock", answers)
        assert (status, "NOT AUDITED, no database of weaknesses could be reached" in text) == (2, True)
    assert "only 2 packages could be looked up" in verdict("a.lock", [PARTLY, None])[1]
