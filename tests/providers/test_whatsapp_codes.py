"""Meta's codes: what each means, who can fix it, and whether a retry is useful."""

import pytest

from core.errors import (
    FailureParty,
    FailureReason,
    ProviderMisconfigured,
    ProviderUnavailable,
)
from integrations.provider_errors import Kind
from integrations.whatsapp.errors import ERRORS, MEANINGS

_REJECTED, _LATER, _CONFIG, _UNKNOWN = Kind.REJECTED, Kind.UNAVAILABLE, Kind.MISCONFIGURED, Kind.UNKNOWN


# https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes: what the table must not lose.
@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        (_CONFIG, [0, 190, 3, 10, 33, 131048, 131030, 131031, 368, 131037, 131045, 133010, 131042, 131044]),
        (_CONFIG, [130497]),
        (_REJECTED, [132015, 132016]),
        (_REJECTED, [100, 130472, 131026, 131047, 131049, 131050, 131021, 131005, 131008, 131009, 131051, 131052]),
        (_REJECTED, [131053, 131062, 131063, 132000, 132001, 132005, 132007, 132008, 132012, 132068, 135000, 137000]),
        (_LATER, [1, 2, 4, 80007, 130429, 131056, 131016, 131057, 133004, 132069]),
        (_UNKNOWN, [131000]),
    ],
)
def test_the_table_agrees_with_meta(kind: Kind, codes: list[int]) -> None:
    assert {code for code in codes if MEANINGS[code].kind is kind} == set(codes)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (131026, FailureReason.UNREACHABLE),
        (131047, FailureReason.SESSION_WINDOW_CLOSED),
        (131050, FailureReason.CONSENT_WITHDRAWN),
        (131056, FailureReason.RATE_LIMITED),
        (130429, FailureReason.RATE_LIMITED),
        (131021, FailureReason.INVALID_RECIPIENT),
        (131062, FailureReason.INVALID_RECIPIENT),
        (132001, FailureReason.TEMPLATE_REJECTED),
        (132015, FailureReason.TEMPLATE_REJECTED),
        (100, FailureReason.CONTENT_REJECTED),
    ],
)
def test_a_code_has_its_reason(code: int, reason: FailureReason) -> None:
    assert MEANINGS[code].reason is reason
    assert ERRORS.failure(code).reason is reason


@pytest.mark.parametrize("code", [200, 219, 299])
def test_every_missing_permission_is_for_the_operator(code: int) -> None:
    error = ERRORS.error(403, code)
    assert (type(error), error.party) == (ProviderMisconfigured, FailureParty.OPERATOR)


@pytest.mark.parametrize(("code", "pause"), [(131056, 6), (80007, 60), (4, 60)])
def test_a_limit_has_its_pause_unless_meta_names_another(code: int, pause: float) -> None:
    for asked, expected in ((None, pause), (30.0, 30.0)):
        error = ERRORS.error(429, code, retry_after=asked)
        assert isinstance(error, ProviderUnavailable)
        assert error.retry_after == expected


@pytest.mark.parametrize(
    ("code", "is_transient"), [(131016, True), (131000, True), (131056, True), (131026, False), (131049, False)]
)
def test_a_reported_failure_says_whether_another_try_is_worth_it(code: int, is_transient: bool) -> None:
    assert ERRORS.failure(code).is_transient is is_transient
