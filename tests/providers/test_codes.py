"""The error codes of Twilio and Meta: all published ones are in our tables, with the responsible party."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from core.errors import (
    FailureParty,
    FailureReason,
    FailureScope,
    OutcomeUnknown,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.providers.circuit import Verdict, judge_call
from integrations.provider_errors import Kind, Meaning
from integrations.twilio import errors as twilio
from integrations.twilio import errors as twilio_errors
from integrations.whatsapp import errors as whatsapp
from integrations.whatsapp import errors as whatsapp_errors

PUBLISHED = Path(__file__).parent / "published"
RATE, BLOCKED, OTHER = FailureReason.RATE_LIMITED, FailureReason.BLOCKED, FailureReason.OTHER
RECIPIENT, CALLER = FailureParty.RECIPIENT, FailureParty.CALLER
OPERATOR, PROVIDER = FailureParty.OPERATOR, FailureParty.PROVIDER


def published(name: str) -> Iterator[int]:
    """The codes of a list: numbers, and ranges of them."""
    for line in (PUBLISHED / f"{name}.txt").read_text().splitlines():
        for word in [] if line.startswith("#") else line.split():
            first, _, last = word.partition("-")
            yield from range(int(first), int(last or first) + 1)


def every_meaning() -> Iterator[tuple[str, Meaning]]:
    yield from ((f"twilio {code}", meaning) for code, meaning in twilio.MEANINGS.items())
    yield from ((f"whatsapp {code}", meaning) for code, meaning in whatsapp.MEANINGS.items())


@pytest.mark.parametrize(
    ("name", "known"), [("twilio", {int(code) for code in twilio.MEANINGS}), ("whatsapp", set(whatsapp.MEANINGS))]
)
def test_no_published_code_is_missing_and_none_is_invented(name: str, known: Collection[int]) -> None:
    listed = list(published(name))
    assert len(listed) == len(set(listed)) > 100
    assert sorted(set(listed) - set(known)) == []
    assert sorted(set(known) - set(listed)) == []


# Twilio's status callbacks: what each comes to, who must act, and whether another try may pass.
CALLBACK_CODES = [
    ("30001", RATE, PROVIDER, True),
    ("30003", FailureReason.UNREACHABLE, RECIPIENT, True),
    ("30007", FailureReason.CONTENT_REJECTED, CALLER, False),
    ("30008", OTHER, PROVIDER, True),
    ("30017", FailureReason.PROVIDER_ERROR, PROVIDER, True),
    ("30022", RATE, PROVIDER, True),
    ("30023", RATE, PROVIDER, True),
    ("30027", RATE, PROVIDER, True),
    ("30032", FailureReason.PROVIDER_ERROR, OPERATOR, False),
    ("30033", FailureReason.PROVIDER_ERROR, OPERATOR, False),
    ("30034", FailureReason.PROVIDER_ERROR, OPERATOR, False),
    ("30035", FailureReason.PROVIDER_ERROR, OPERATOR, True),
    ("30036", FailureReason.EXPIRED, PROVIDER, False),
    ("30410", FailureReason.PROVIDER_ERROR, PROVIDER, True),
    ("30447", FailureReason.PROVIDER_ERROR, OPERATOR, False),
    ("30450", BLOCKED, PROVIDER, True),
    ("30453", OTHER, PROVIDER, True),
    ("30454", RATE, PROVIDER, True),
    ("30500", FailureReason.PROVIDER_ERROR, PROVIDER, True),
    ("30630", FailureReason.CONSENT_WITHDRAWN, RECIPIENT, False),
    ("30883", FailureReason.PROVIDER_ERROR, OPERATOR, False),
    ("21265", FailureReason.INVALID_RECIPIENT, RECIPIENT, False),
    ("21635", FailureReason.INVALID_RECIPIENT, RECIPIENT, False),
    ("63016", FailureReason.SESSION_WINDOW_CLOSED, CALLER, False),
    ("63018", RATE, PROVIDER, True),
    # What came after the table was written.
    ("30099", OTHER, PROVIDER, False),
    ("30478", FailureReason.PROVIDER_ERROR, OPERATOR, False),
    ("30799", FailureReason.PROVIDER_ERROR, OPERATOR, False),
    ("30950", OTHER, OPERATOR, False),
    ("21999", OTHER, PROVIDER, False),
    ("90001", OTHER, PROVIDER, False),
    ("", OTHER, PROVIDER, False),
]


def test_a_callback_s_code_has_its_meaning(subtests: pytest.Subtests) -> None:
    for code, reason, party, is_transient in CALLBACK_CODES:
        with subtests.test(code or "no code"):
            failure = twilio_errors.ERRORS.failure(code)
            assert (failure.reason, failure.party, failure.is_transient) == (reason, party, is_transient)
            assert (failure.provider_code or "") == code
            assert code in twilio.MEANINGS or not code or code in failure.message


@pytest.mark.parametrize(
    ("code", "reason", "party", "is_transient"),
    [
        (131043, FailureReason.EXPIRED, PROVIDER, False),
        (131055, FailureReason.TEMPLATE_REJECTED, CALLER, False),
        (132099, FailureReason.TEMPLATE_REJECTED, CALLER, False),
        (133006, FailureReason.PROVIDER_ERROR, OPERATOR, False),
        (133099, FailureReason.PROVIDER_ERROR, OPERATOR, False),
        (134101, FailureReason.TEMPLATE_REJECTED, CALLER, True),
        (134102, FailureReason.TEMPLATE_REJECTED, OPERATOR, False),
        (138006, OTHER, OPERATOR, False),
        (80008, RATE, PROVIDER, True),
        (613, RATE, PROVIDER, True),
        (2494100, FailureReason.PROVIDER_ERROR, PROVIDER, True),
        (131999, OTHER, PROVIDER, False),
        (999_999_999, OTHER, PROVIDER, False),
    ],
)
def test_a_report_s_code_has_its_meaning(
    code: int, reason: FailureReason, party: FailureParty, is_transient: bool
) -> None:
    failure = whatsapp_errors.ERRORS.failure(code)
    assert (failure.reason, failure.party, failure.is_transient) == (reason, party, is_transient)
    assert code in whatsapp.MEANINGS or str(code) in failure.message


def test_what_a_recipient_a_text_or_a_template_causes_never_counts_against_the_provider() -> None:
    for name, meaning in every_meaning():
        provider, _, code = name.partition(" ")
        error = (
            twilio_errors.ERRORS.error(400, code)
            if provider == "twilio"
            else whatsapp_errors.ERRORS.error(400, int(code))
        )
        if meaning.party in (RECIPIENT, CALLER) or meaning.scope is FailureScope.MESSAGE:
            assert judge_call(error) is Verdict.ANSWERED, name
            assert error.scope is FailureScope.MESSAGE, name
    for unknown in (twilio_errors.ERRORS.error(400, "29999"), whatsapp_errors.ERRORS.error(400, 131_999)):
        assert isinstance(unknown, ProviderRejected)
        assert judge_call(unknown) is Verdict.ANSWERED


def test_each_meaning_is_consistent() -> None:
    for name, meaning in every_meaning():
        assert meaning.message.endswith("."), name
        assert len(meaning.message) < 140, name
        if meaning.kind is Kind.MISCONFIGURED:
            assert (meaning.party, meaning.scope is None) == (OPERATOR, False), name
        if meaning.kind in (Kind.UNAVAILABLE, Kind.UNKNOWN):
            assert meaning.is_passing, name
        if meaning.pause is not None:
            assert meaning.kind is Kind.UNAVAILABLE, name


def test_a_limit_that_lasts_has_its_pause_unless_twilio_names_another() -> None:
    for asked, expected in ((None, 1_800), (5.0, 5.0)):
        error = twilio_errors.ERRORS.error(400, "30450", retry_after=asked)
        assert isinstance(error, ProviderUnavailable)
        assert error.retry_after == expected


def test_an_unknown_code_is_classified_by_the_status_first() -> None:
    by_status: dict[int, type[ProviderError]] = dict.fromkeys((302, 401, 403, 404, 407), ProviderMisconfigured)
    by_status |= {408: OutcomeUnknown, 429: ProviderUnavailable, 503: OutcomeUnknown}
    for status, kind in by_status.items():
        for error in (twilio_errors.ERRORS.error(status, "29999"), whatsapp_errors.ERRORS.error(status, 199)):
            assert type(error) is kind, (status, error)


@pytest.mark.parametrize(
    ("subcode", "words"), [(460, "password"), (463, "expired"), (467, "withdrawn"), (1, "expired")]
)
def test_a_subcode_says_more_exactly_what_ails_the_token(subcode: int, words: str) -> None:
    error = whatsapp_errors.ERRORS.error(401, 190, subcode)
    assert (error.provider_code, error.party) == ("190", OPERATOR)
    assert words in error.message
