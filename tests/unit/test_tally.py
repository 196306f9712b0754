"""What the end of a call says about the company."""

import pytest

from core.errors import (
    FailureParty,
    FailureReason,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.flow.tally import Verdict, pause_asked, tally, verdict
from core.flow.values import Outcomes

AWAY = ProviderUnavailable("No connection.", provider="acme")
LOST = OutcomeUnknown("No answer.", provider="acme")
SHUT_OUT = ProviderMisconfigured("Wrong token.", provider="acme", party=FailureParty.OPERATOR)
NO = ProviderRejected("No such number.", provider="acme", party=FailureParty.RECIPIENT)
BAD_TEMPLATE = ProviderMisconfigured(
    "Paused.", provider="acme", reason=FailureReason.TEMPLATE_REJECTED, party=FailureParty.OPERATOR
)
GREYLISTED = ProviderUnavailable("Come back later.", provider="acme", party=FailureParty.RECIPIENT)


def limited(after: float | None, party: FailureParty = FailureParty.PROVIDER) -> ProviderError:
    return ProviderUnavailable(
        "Slow down.", provider="acme", reason=FailureReason.RATE_LIMITED, party=party, retry_after=after
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, Verdict.ANSWERED),
        (NO, Verdict.ANSWERED),
        (BAD_TEMPLATE, Verdict.ANSWERED),
        (GREYLISTED, Verdict.ANSWERED),
        (limited(30), Verdict.ANSWERED),
        (AWAY, Verdict.FAILED),
        (LOST, Verdict.FAILED),
        (SHUT_OUT, Verdict.REFUSED),
    ],
)
def test_only_what_the_company_is_to_blame_for_counts(error: ProviderError | None, expected: Verdict) -> None:
    assert verdict(error) is expected


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (None, 0),
        (AWAY, 0),
        (limited(30), 30),
        (limited(None), 1),
        # To this person only: nobody else waits.
        (limited(6, FailureParty.RECIPIENT), 0),
        (limited(60, FailureParty.CALLER), 0),
    ],
)
def test_everybody_pauses_only_for_a_limit_of_the_sender(error: ProviderError | None, seconds: float) -> None:
    assert pause_asked(error) == seconds


def test_calls_are_counted_by_the_stretch_they_began_in() -> None:
    ended = [(7, None), (7, NO), (7, AWAY), (9, SHUT_OUT), (9, LOST), (None, AWAY), (9, limited(3)), (9, limited(2))]
    assert tally(ended) == [
        Outcomes(7, successes=2, failures=1),
        Outcomes(9, successes=2, failures=1, refusals=1, pause=3),
        Outcomes(None, failures=1),
    ]
    assert tally([]) == []
