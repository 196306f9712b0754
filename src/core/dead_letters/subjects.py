"""The kinds of objects that dead letters are about, as the nouns contribute them."""

from collections.abc import Iterable, Mapping

from core.errors import BrokenContribution
from core.nouns import Subject


class Subjects:
    """All kinds of subjects. Raises BrokenContribution where two share a kind or a kind of work."""

    def __init__(self, subjects: Iterable[Subject]) -> None:
        self.by_kind: Mapping[str, Subject] = {}
        self.by_work: Mapping[str, Subject] = {}
        for one in subjects:
            if one.kind in self.by_kind or one.work in self.by_work:
                raise BrokenContribution(f"the subject {one.kind} with the work {one.work} is contributed twice")
            self.by_kind = {**self.by_kind, one.kind: one}
            self.by_work = {**self.by_work, one.work: one}
