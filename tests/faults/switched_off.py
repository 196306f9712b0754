"""Each safeguard, what behaves differently without it, and the test that must notice.

A process started with FAULT_WITHOUT calls `apply` after its imports and before it does anything. The file that
FAULT_USED names exists afterwards if the changed behaviour was used.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as changed
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, func, literal, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.audit.act import Act
from core.backoff import LONGEST_PAUSE, retry_in
from core.claims import never_began, return_unbegun
from core.database import Database, _commit
from core.errors import (
    CommitUnknown,
    FailureReason,
    FailureScope,
    ProviderError,
    ProviderMisconfigured,
    ProviderRejected,
    ProviderUnavailable,
)
from core.inbox.store import _is_readable_by, _row
from core.liveness import active_since
from core.messages.claim import NO_UNREAD_REPORT, Claimed, Timing, begin, claim
from core.messages.commands import _awaits_decision, _too_late, cancel_message
from core.messages.delivery import ChannelDelivery
from core.messages.record import MessageKey
from core.messages.retry import lock_readable_state
from core.messages.state_machine import MessageState, Transition, _leave_step, after_outcome, after_report
from core.messages.status import MessageStatus
from core.messages.store import seal_draft
from core.messages.tables import attempts, messages
from core.messages.timeouts import reclaim_expired_leases
from core.messages.unconfirmed import Evidence
from core.messages.webhook_handlers import _correct_owner
from core.ports import Failure
from core.providers.circuit import CallOutcomes, CircuitRules, EndedCall, Verdict, judge_call, summarize_calls
from core.pubsub import Hub
from core.sealing import Sealer
from integrations.smtp.connections import Connection
from tests.faults.patches import Patches

WITHOUT = "FAULT_WITHOUT"


@dataclass(frozen=True, slots=True)
class Safeguard:
    """What protects the product, how it is switched off, and the test in `tests/faults/long` that must fail then."""

    name: str
    switch_off: Callable[[Patches], None]
    test: str


SAFEGUARDS: dict[str, Safeguard] = {}
"""By the name of the function that switches it off."""


def apply() -> None:
    """Switch off the safeguard that the environment names, if it names one."""
    if name := os.environ.get(WITHOUT):
        SAFEGUARDS[name].switch_off(Patches())


def _safeguard(name: str, *, test: str) -> Callable[[Callable[[Patches], None]], Callable[[Patches], None]]:
    def register(switch_off: Callable[[Patches], None]) -> Callable[[Patches], None]:
        SAFEGUARDS[switch_off.__name__] = Safeguard(name, switch_off, test)
        return switch_off

    return register


# Sending: what is claimed, begun and recovered.


@_safeguard(
    "the fencing token, when a send begins",
    test="test_frozen_worker.py::test_a_worker_frozen_between_claim_and_begin_does_not_send_what_another_one_has_claimed",
)
def fencing_token(patches: Patches) -> None:
    original = begin

    async def begin_with_present_tokens(
        connection: AsyncConnection, claimed: Sequence[Claimed], timing: Timing
    ) -> set[MessageKey]:
        chosen = select(messages.c.tenant_id, messages.c.id, messages.c.lease_token).where(
            tuple_(messages.c.tenant_id, messages.c.id).in_([one.key for one in claimed])
        )
        rows = await connection.execute(chosen)
        tokens = {MessageKey(row.tenant_id, row.id): row.lease_token for row in rows}
        present = [changed(one, token=tokens[one.key]) for one in claimed if one.key in tokens]
        return await original(connection, present, timing)

    patches.swap(begin, begin_with_present_tokens)


async def _forget_beginnings(connection: AsyncConnection, begun: Iterable[Claimed]) -> None:
    numbers = [(*one.key, one.attempt) for one in begun]
    which = tuple_(attempts.c.tenant_id, attempts.c.message_id, attempts.c.number).in_(numbers)
    await connection.execute(update(attempts).where(which).values(started_at=None))


@_safeguard(
    "the beginning of a send is written down before it, where it begins as it is claimed",
    test="test_worker_killed_at_each_step.py::test_a_message_that_was_received_is_settled_by_its_reports[taken_and_not_answered]",
)
def beginning_at_claim(patches: Patches) -> None:
    original = claim

    async def claim_unwritten(connection: AsyncConnection, *args: Any, **named: Any) -> list[Claimed]:
        claimed = await original(connection, *args, **named)
        await _forget_beginnings(connection, [one for one in claimed if one.has_begun])
        return claimed

    patches.swap(claim, claim_unwritten)


@_safeguard(
    "the beginning of a send is written down before it, where it begins later",
    test="test_resend_waits_for_reports.py::test_nothing_is_sent_again_after_the_api_was_down",
)
def beginning_after_claim(patches: Patches) -> None:
    original = begin

    async def begin_unwritten(
        connection: AsyncConnection, claimed: Sequence[Claimed], timing: Timing
    ) -> set[MessageKey]:
        begun = await original(connection, claimed, timing)
        await _forget_beginnings(connection, [one for one in claimed if one.key in begun])
        return begun

    patches.swap(begin, begin_unwritten)


@_safeguard(
    "rule A: while a report is unread, nothing is decided",
    test="test_resend_waits_for_reports.py::test_nothing_is_sent_again_while_a_report_is_unread",
)
def unread_reports_first(patches: Patches) -> None:
    patches.rewrite(NO_UNREAD_REPORT, "true")


@_safeguard(
    "rule C: after a time in which reports may have been missed, nothing is decided",
    test="test_resend_waits_for_reports.py::test_nothing_is_sent_again_after_the_api_was_down",
)
def heard_without_a_gap(patches: Patches) -> None:
    def always_heard() -> Select[tuple[datetime]]:
        return select(func.now() - literal(timedelta(days=1)))

    patches.swap(active_since, always_heard)


@_safeguard(
    "rule B: what a dead worker had begun is not sent again",
    test="test_worker_killed_at_each_step.py::test_a_message_that_was_received_is_settled_by_its_reports[taken_and_not_answered]",
)
def begun_is_not_sent_again(patches: Patches) -> None:
    patches.swap(never_began, lambda _work: true())


@_safeguard(
    "what a dead worker had not begun is sent",
    test="test_worker_killed_at_each_step.py::test_a_message_claimed_and_not_begun_is_sent_once",
)
def unbegun_is_sent(patches: Patches) -> None:
    async def leave(*_: object) -> None:
        return

    patches.swap(return_unbegun, leave)


@_safeguard(
    "the sweep, which reclaims dead workers' leases",
    test="test_worker_killed_at_each_step.py::test_a_message_claimed_and_not_begun_is_sent_once",
)
def sweep(patches: Patches) -> None:
    async def reclaim_nothing(*_: object, **__: object) -> list[object]:
        return []

    patches.swap(reclaim_expired_leases, reclaim_nothing)


@_safeguard(
    "workers look for due messages without a wake-up",
    test="test_valkey.py::test_accepting_waits_at_most_half_a_second_for_valkey[dead]",
)
def looks_without_a_wake_up(patches: Patches) -> None:
    original = ChannelDelivery.rest

    async def rest_for_an_hour(delivery: ChannelDelivery, _longest: float) -> None:
        await original(delivery, 3_600)

    patches.swap(ChannelDelivery.rest, rest_for_an_hour)


@_safeguard(
    "a message under a missing key is left to a worker that has it",
    test="test_missing_key.py::test_work_under_a_missing_key_waits_for_a_worker_that_has_it",
)
def message_waits_for_its_key(patches: Patches) -> None:
    original = claim

    async def claim_under_any_key(*args: Any, **named: Any) -> list[Claimed]:
        return await original(*args, **{**named, "keys": None})

    patches.swap(claim, claim_under_any_key)


@_safeguard(
    "mail is tried for as long as is documented",
    test="test_provider_answers.py::test_mail_that_a_relay_defers_for_four_hours_is_sent",
)
def tries_last_as_documented(patches: Patches) -> None:
    original = retry_in

    def retry_twelve_times(
        tries: int, asked: float | None, *, retry_for: timedelta, longest: timedelta = LONGEST_PAUSE
    ) -> timedelta | None:
        return None if tries >= 12 else original(tries, asked, retry_for=timedelta.max, longest=longest)

    patches.swap(retry_in, retry_twelve_times)


# Accepting: what is answered with "accepted" is there, once.


@_safeguard(
    "the idempotency key",
    test="test_api_killed.py::test_after_a_lost_commit_answer_the_same_key_returns_the_same_message",
)
def idempotency_key(patches: Patches) -> None:
    original = seal_draft

    def seal_without_key(*args: Any, **named: Any) -> object:
        return original(*args, **{**named, "request": None})

    patches.swap(seal_draft, seal_without_key)


@_safeguard(
    "a broken COMMIT is not answered with success",
    test="test_api_killed.py::test_a_commit_whose_connection_is_terminated_is_never_answered_with_success",
)
def broken_commit_is_unknown(patches: Patches) -> None:
    original = _commit

    async def commit_or_believe(*args: Any) -> None:
        with suppress(CommitUnknown):
            await original(*args)

    patches.swap(_commit, commit_or_believe)


# Reports: read once, and only forward.


@_safeguard(
    "the rank of reports",
    test="test_report_order.py::test_repeated_reversed_and_early_reports_lead_to_the_same_status",
)
def rank_of_reports(patches: Patches) -> None:
    original = after_report

    def believe_lower_ranks(
        standing: MessageState, number: int, status: Any, *args: Any, **named: Any
    ) -> Transition | None:
        attempt = standing.attempts[number]
        if status.rank < attempt.rank:
            standing = _unranked(standing, number)
        return original(standing, number, status, *args, **named)

    patches.swap(after_report, believe_lower_ranks)


def _unranked(standing: MessageState, number: int) -> MessageState:
    forgotten = changed(standing.attempts[number], rank=0)
    return changed(standing, attempts={**standing.attempts, number: forgotten})


@_safeguard(
    "a repeated report is stored once",
    test="test_report_order.py::test_repeated_reversed_and_early_reports_lead_to_the_same_status",
)
def reports_are_kept_once(patches: Patches) -> None:
    original = _row

    def row_of_its_own(*args: Any) -> dict[str, object]:
        return {**original(*args), "dedupe_key": str(uuid4())}

    patches.swap(_row, row_of_its_own)


@_safeguard(
    "a late answer does not lower what a report has said",
    test="test_report_order.py::test_repeated_reversed_and_early_reports_lead_to_the_same_status",
)
def late_answer_lowers_nothing(patches: Patches) -> None:
    original = after_outcome

    def forget_reports(standing: MessageState, ended: Any, **named: Any) -> Transition:
        return original(_unranked(standing, ended.number), ended, **named)

    patches.swap(after_outcome, forget_reports)


@_safeguard(
    "an event under a missing key is left to a worker that has it",
    test="test_missing_key.py::test_work_under_a_missing_key_waits_for_a_worker_that_has_it",
)
def event_waits_for_its_key(patches: Patches) -> None:
    def is_readable_by_anybody(_sealer: Sealer) -> ColumnElement[bool]:
        return true()

    patches.swap(_is_readable_by, is_readable_by_anybody)


@_safeguard(
    "a signed report corrects what a list seemed to show",
    test="test_settled_once.py::test_a_signed_report_corrects_what_a_provider_list_seemed_to_show",
)
def signed_report_corrects_a_list(patches: Patches) -> None:
    def correct_nothing(*_: object) -> bool:
        return True

    patches.swap(_correct_owner, correct_nothing)


# Decisions about messages whose fate is not known.


@_safeguard(
    "one record of a list settles neither of two similar messages",
    test="test_settled_once.py::test_one_provider_record_for_two_similar_messages_settles_neither",
)
def record_of_two_messages_settles_neither(patches: Patches) -> None:
    def has_no_lookalike(*_: object) -> bool:
        return False

    patches.swap(Evidence.has_lookalike, has_no_lookalike)


@_safeguard(
    "a repeated decision by hand changes nothing",
    test="test_settled_once.py::test_a_repeated_decision_sends_once",
)
def decision_is_made_once(patches: Patches) -> None:
    def always(_standing: MessageState) -> bool:
        return True

    patches.swap(_awaits_decision, always)


@_safeguard(
    "a refusal of the last step leaves open what an earlier one may have reached",
    test="test_settled_once.py::test_a_refused_last_step_leaves_an_unconfirmed_earlier_step_open",
)
def earlier_step_stays_open(patches: Patches) -> None:
    original = _leave_step

    def leave_or_fail(standing: MessageState, failure: Failure | None, *, waits: bool = True) -> Transition:
        if standing.has_next:
            return original(standing, failure, waits=waits)
        return Transition(changed(standing, status=MessageStatus.FAILED, failure=failure))

    patches.swap(_leave_step, leave_or_fail)


@_safeguard(
    "a repeated cancellation has the same answer",
    test="test_settled_once.py::test_a_repeated_cancellation_has_the_same_answer",
)
def cancellation_is_repeatable(patches: Patches) -> None:
    original = cancel_message

    async def cancel_once(
        database: Database, hub: Hub, tenant: UUID, message_id: UUID, *, act: Act | None = None
    ) -> None:
        async with database.transaction(tenant) as connection:
            standing = await lock_readable_state(connection, MessageKey(tenant, message_id))
        if standing.status is MessageStatus.CANCELED:
            raise _too_late(standing)
        await original(database, hub, tenant, message_id, act=act)

    patches.swap(cancel_message, cancel_once)


# Circuits and connections: one recipient or tenant does not hold up the others.


@_safeguard(
    "the lease of a circuit's trial is short, and only the worker that has it renews it",
    test="test_valkey.py::test_a_circuit_trial_that_is_due_while_valkey_hangs_delays_nothing[frozen]",
)
def short_trial_lease(patches: Patches) -> None:
    original = CircuitRules

    def rules_with_a_long_trial() -> CircuitRules:
        return original(trial_lease=40.0)

    patches.swap(CircuitRules, rules_with_a_long_trial)


@_safeguard(
    "what a recipient causes does not count against the provider",
    test="test_recipient_failures.py::test_full_mailboxes_and_greylists_delay_no_other_mail_and_cost_few_connections",
)
def recipients_do_not_count_against_the_provider(patches: Patches) -> None:
    original = judge_call

    def blame_the_provider(error: ProviderError | None) -> Verdict:
        if error is None or error.scope is not FailureScope.MESSAGE or isinstance(error, ProviderRejected):
            return original(error)
        if isinstance(error, ProviderMisconfigured):
            return Verdict.REFUSED
        is_slowed = isinstance(error, ProviderUnavailable) and error.reason is FailureReason.RATE_LIMITED
        return Verdict.ANSWERED if is_slowed else Verdict.FAILED

    patches.swap(judge_call, blame_the_provider)


@_safeguard(
    "a connection is kept after a refusal",
    test="test_recipient_failures.py::test_full_mailboxes_and_greylists_delay_no_other_mail_and_cost_few_connections",
)
def connection_is_kept_after_a_refusal(patches: Patches) -> None:
    def never(_connection: Connection) -> bool:
        return False

    patches.swap(Connection.is_at_rest, never)


@_safeguard(
    "failures of one tenant alone open no circuit",
    test="test_recipient_failures.py::test_failures_of_one_tenant_do_not_delay_the_others",
)
def one_tenant_alone_opens_no_circuit(patches: Patches) -> None:
    original = summarize_calls

    def tally_without_tenants(ended: Iterable[EndedCall]) -> list[CallOutcomes]:
        return [changed(one, tenants=frozenset()) for one in original(ended)]

    patches.swap(summarize_calls, tally_without_tenants)
