"""What the outcome of a call says about the provider."""

from uuid import UUID

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
from core.providers.circuit import (
    CallOutcomes,
    EndedCall,
    Suspect,
    Verdict,
    judge_call,
    requested_pause,
    summarize_calls,
)
from integrations.twilio import errors as twilio
from integrations.whatsapp import errors as whatsapp

AWAY = ProviderUnavailable("No connection.", provider="acme", scope=FailureScope.PROVIDER)
BROKEN = ProviderUnavailable("It broke down.", provider="acme")
LOST = OutcomeUnknown("No answer.", provider="acme")
SHUT_OUT = ProviderMisconfigured(
    "Wrong token.", provider="acme", party=FailureParty.OPERATOR, scope=FailureScope.PROVIDER
)
NOT_THERE = ProviderMisconfigured(
    "Not to this country.", provider="acme", party=FailureParty.OPERATOR, scope=FailureScope.MESSAGE
)
OURS = ProviderUnavailable("We overslept.", provider="acme", scope=FailureScope.OURS)
LOST_FOR_CONTENT = OutcomeUnknown("No answer.", provider="acme", party=FailureParty.CALLER)
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
        (NOT_THERE, Verdict.ANSWERED),
        (LOST_FOR_CONTENT, Verdict.ANSWERED),
        (OURS, Verdict.NO_EVIDENCE),
        (AWAY, Verdict.FAILED),
        (BROKEN, Verdict.FAILED),
        (LOST, Verdict.FAILED),
        (SHUT_OUT, Verdict.REFUSED),
    ],
)
def test_only_failures_of_the_provider_count(error: ProviderError | None, expected: Verdict) -> None:
    assert judge_call(error) is expected


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (None, 0),
        (AWAY, 0),
        (limited(30), 30),
        (limited(None), 1),
        # To this person only: no other recipient waits.
        (limited(6, FailureParty.RECIPIENT), 0),
        (limited(60, FailureParty.CALLER), 0),
    ],
)
def test_only_a_limit_of_the_sender_pauses_all_sending(error: ProviderError | None, seconds: float) -> None:
    assert requested_pause(error) == seconds


def ended(ticket: int | None, error: ProviderError | None, tenant: int = 1, recipient: bytes = b"ana") -> EndedCall:
    return EndedCall(ticket, error, UUID(int=tenant), recipient)


def test_calls_are_counted_by_the_stretch_they_began_in() -> None:
    ends = [(7, None), (7, NO), (7, AWAY), (9, SHUT_OUT), (9, OURS), (None, AWAY), (9, limited(3)), (9, limited(2))]
    first, second, third = summarize_calls(ended(ticket, error) for ticket, error in ends)
    who = first.tenants
    assert first == CallOutcomes(7, successes=2, failures=1, tenants=who)
    assert second == CallOutcomes(9, successes=2, refusals=1, pause=3, tenants=who)
    assert third == CallOutcomes(None, failures=1, tenants=who)
    assert summarize_calls([]) == []


def test_a_failure_possibly_caused_by_a_recipient_or_tenant_is_recorded_with_hashes_of_both() -> None:
    def from_ana(error: ProviderError) -> EndedCall:
        return ended(7, error, recipient=b"ana's hash")

    (told,) = summarize_calls([from_ana(LOST), from_ana(LOST), from_ana(BROKEN), ended(7, LOST, tenant=2)])
    assert (told.failures, told.refusals, len(told.suspects), len(told.tenants)) == (0, 0, 2, 2)
    ana = told.suspects[0]
    assert ana == Suspect(ana.recipient, ana.tenant, is_refusal=False)
    assert ana.tenant in told.tenants
    for value in (ana.recipient, ana.tenant):
        # Neither the address's own look-up hash nor the tenant's id goes to the shared store.
        assert len(bytes.fromhex(value)) == 8
        assert value not in (b"ana's hash".hex(), UUID(int=1).hex)


def test_no_table_lets_one_recipient_one_template_or_one_message_count_against_a_provider() -> None:
    for status, code in (
        (400, "21408"),
        (400, "21608"),
        (400, "30034"),
        (400, "21211"),
        (400, "21610"),
        (400, "30003"),
    ):
        assert judge_call(twilio.ERRORS.error(status, code)) is Verdict.ANSWERED, code
    for code in (
        130497,
        131030,
        131026,
        131047,
        131049,
        131050,
        131056,
        132001,
        132015,
        132016,
        132069,
        130472,
        135000,
    ):
        assert judge_call(whatsapp.ERRORS.error(400, code)) is Verdict.ANSWERED, code
    for tables in (twilio.MEANINGS, whatsapp.MEANINGS):
        for code, meaning in tables.items():
            if meaning.party in (FailureParty.RECIPIENT, FailureParty.CALLER):
                error = twilio.ERRORS.error(400, code) if isinstance(code, str) else whatsapp.ERRORS.error(400, code)
                assert judge_call(error) is Verdict.ANSWERED, code


def test_what_any_message_would_meet_counts_at_once() -> None:
    for error in (
        twilio.ERRORS.error(401, "20003"),
        twilio.ERRORS.error(403),
        whatsapp.ERRORS.error(401, 190),
        whatsapp.ERRORS.error(403),
    ):
        assert (judge_call(error), error.scope) == (Verdict.REFUSED, FailureScope.PROVIDER)
    # A breakdown may be this message's doing.
    for error in (twilio.ERRORS.error(500), whatsapp.ERRORS.error(500), whatsapp.ERRORS.error(400, 131000)):
        assert (judge_call(error), error.scope) == (Verdict.FAILED, FailureScope.UNCLEAR)


def test_a_limit_of_one_recipient_pauses_no_other() -> None:
    error = ProviderUnavailable(
        "Too much.", provider="acme", reason=FailureReason.RATE_LIMITED, scope=FailureScope.MESSAGE
    )
    assert requested_pause(error) == 0
