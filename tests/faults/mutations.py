"""The faults must have teeth: each safeguard is switched off in turn, in a copy of the code, and its test must fail.

`python -m tests.faults.mutations [WORD …]` runs those whose names hold one of the words, or all. First every test runs
on the code as it is: one that fails anyway would prove nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONG = "tests/faults/long"
SMALL = {"FAULT_ROUNDS": "1", "FAULT_NUMBER": "5", "FAULT_SECONDS": "20", "FAULT_MANY": "40"}
"""Sizes that show a broken safeguard and do not take long."""
LIMIT = 600.0
GREEN, RED = 0, 1


@dataclass(frozen=True)
class Mutation:
    """A safeguard, how to switch it off, and the test that must notice."""

    safeguard: str
    file: str
    before: str
    after: str
    test: str


class Useless(Exception):
    """A mutation that does not fit the code any more, or does not fit it exactly once."""


MUTATIONS = (
    Mutation(
        "the fencing token, when a send begins",
        "core/messages/claim.py",
        "            messages.c.lease_token == mine.c.token,\n            messages.c.lease_until > func.now()",
        "            messages.c.lease_until > func.now()",
        "test_frozen_worker.py::test_who_wakes_between_claim_and_begin_sends_nothing_that_is_another_s_by_then",
    ),
    Mutation(
        "the beginning of a send is written down before it, where it begins as it is claimed",
        "core/messages/claim.py",
        "CASE WHEN has_begun THEN now() END",
        "CASE WHEN has_begun THEN null::timestamptz END",
        "test_kill_at_each_step.py::test_what_had_arrived_is_settled_by_its_reports[taken_and_not_answered]",
    ),
    Mutation(
        "the beginning of a send is written down before it, where it begins later",
        "core/messages/claim.py",
        ".values(started_at=func.now())",
        ".values(started_at=None)",
        "test_deaf.py::test_while_our_door_was_closed_nothing_is_sent_again",
    ),
    Mutation(
        "rule A: while a report lies unread, nothing is decided",
        "core/messages/claim.py",
        " AND inbox.status = 'RECEIVED'\n",
        " AND inbox.status = 'NEVER'\n",
        "test_deaf.py::test_while_a_report_lies_unread_nothing_is_sent_again",
    ),
    Mutation(
        "rule C: while we may have been deaf, nothing is decided",
        "core/messages/unconfirmed.py",
        "    if not heard:\n        return []\n",
        "",
        "test_deaf.py::test_while_our_door_was_closed_nothing_is_sent_again",
    ),
    Mutation(
        "rule B: what a dead worker had begun is not sent again",
        "core/messages/timeouts.py",
        "            messages.c.status == MessageStatus.QUEUED.value,\n            ~started,\n",
        "",
        "test_kill_at_each_step.py::test_what_had_arrived_is_settled_by_its_reports[taken_and_not_answered]",
    ),
    Mutation(
        "what a dead worker had not begun is sent",
        "core/messages/timeouts.py",
        "    await _return_unbegun(connection, keys)\n",
        "",
        "test_kill_at_each_step.py::test_what_was_claimed_and_not_begun_goes_out_once",
    ),
    Mutation(
        "the sweep, which takes dead workers' leases over",
        "api/workshop.py",
        "return await reclaim_expired_leases(connection, hold=self.house.timing.hold)",
        "return []",
        "test_kill_at_each_step.py::test_what_was_claimed_and_not_begun_goes_out_once",
    ),
    Mutation(
        "the relay, which looks for due messages without being woken",
        "api/workshop.py",
        "await courier.rest(_SWEEP)",
        "await courier.rest(3_600)",
        "test_valkey.py::test_accepting_waits_for_valkey_at_most_half_a_second[dead]",
    ),
    Mutation(
        "the lease of a circuit's trial is short, and only the worker that has it renews it",
        "core/providers/circuit.py",
        "    trial_lease: float = 1.5\n",
        "    trial_lease: float = 40.0\n",
        "test_valkey.py::test_a_trial_that_is_due_while_valkey_hangs_holds_nothing_up[frozen]",
    ),
    Mutation(
        "the rank of reports",
        "core/messages/state_machine.py",
        "if status.rank <= attempt.rank:",
        "if status.rank == attempt.rank:",
        "test_reports.py::test_five_of_each_in_reverse_and_before_our_commit_end_the_same",
    ),
    Mutation(
        "reports told twice are kept once",
        "core/inbox/store.py",
        "some.on_conflict_do_nothing().returning",
        "some.returning",
        "test_reports.py::test_five_of_each_in_reverse_and_before_our_commit_end_the_same",
    ),
    Mutation(
        "a late answer does not lower what a report has said",
        "core/messages/state_machine.py",
        "    rank = max(known.rank, _SENT if ended.outcome is AttemptOutcome.ACCEPTED else 0)\n",
        "    rank = _SENT if ended.outcome is AttemptOutcome.ACCEPTED else 0\n",
        "test_reports.py::test_five_of_each_in_reverse_and_before_our_commit_end_the_same",
    ),
    Mutation(
        "the idempotency key",
        "core/messages/store.py",
        "lambda one: one.request and one.request.key)",
        "lambda one: None)",
        "test_api_killed.py::test_an_answer_to_commit_that_is_lost_is_found_again_under_the_key",
    ),
    Mutation(
        "a COMMIT that broke is not answered with yes",
        "core/database.py",
        "            raise CommitUnknown(message, retry_after=2) from error\n",
        "            return\n",
        "test_api_killed.py::test_a_back_end_killed_while_it_commits_is_never_answered_with_yes",
    ),
    Mutation(
        "mail is tried for as long as is documented",
        "core/messages/sending.py",
        "    if _shortest_run(tries, longest) >= retry_for:\n",
        "    if tries >= 12:\n",
        "test_company_answers.py::test_a_relay_that_says_later_for_as_long_as_mail_is_tried_for_loses_none",
    ),
    Mutation(
        "what a recipient causes does not count against the provider",
        "core/providers/circuit.py",
        "isinstance(error, ProviderRejected) or error.scope is FailureScope.MESSAGE",
        "isinstance(error, ProviderRejected)",
        "test_recipients.py::test_full_mailboxes_and_greylists_hold_up_nobody_and_cost_few_connections",
    ),
    Mutation(
        "a connection is kept after a refusal",
        "integrations/smtp/connections.py",
        "                    if line.is_at_rest:\n",
        "                    if False:\n",
        "test_recipients.py::test_full_mailboxes_and_greylists_hold_up_nobody_and_cost_few_connections",
    ),
    Mutation(
        "failures of one tenant alone open no circuit",
        "core/providers/scripts.py",
        "if distinct < 2 and others > 0 then suspected, suspected_refusals = 0, 0 end\n",
        "",
        "test_recipients.py::test_one_tenant_cannot_hold_up_the_others",
    ),
    Mutation(
        "a message under a missing key is left to a worker that has it",
        "core/messages/delivery.py",
        "keys=self.sealer.encoded_names,",
        "keys=None,",
        "test_missing_key.py::test_what_a_worker_lacks_the_key_for_waits_for_one_that_has_it",
    ),
    Mutation(
        "an event under a missing key is left to a worker that has it",
        "core/inbox/store.py",
        "            _READABLE.bindparams(keys=sealer.encoded_names),\n",
        "",
        "test_missing_key.py::test_what_a_worker_lacks_the_key_for_waits_for_one_that_has_it",
    ),
    Mutation(
        "one record of a list settles neither of two messages alike",
        "core/messages/unconfirmed.py",
        "        if self.rivals is None:\n            return True\n",
        "        return False\n",
        "test_decisions.py::test_one_record_for_two_messages_alike_settles_neither",
    ),
    Mutation(
        "a signed report corrects what a list seemed to show",
        "core/messages/webhook_handlers.py",
        "    if id and report.reference is not None and not _correct(batch, kept, id, about):\n",
        "    if False:\n",
        "test_decisions.py::test_a_signed_report_takes_a_record_from_the_message_that_a_list_gave_it_to",
    ),
    Mutation(
        "a decision by hand told again changes nothing",
        "core/messages/commands.py",
        "is_new = standing.status is MessageStatus.UNCONFIRMED",
        "is_new = True",
        "test_decisions.py::test_a_decision_told_again_sends_once",
    ),
    Mutation(
        "a refusal of the last step leaves open what an earlier one may have reached",
        "core/messages/state_machine.py",
        "    return _rest(standing, failure, waits=waits)\n",
        "    return Move(replace(standing, status=MessageStatus.FAILED, failure=failure))\n",
        "test_decisions.py::test_a_refused_last_step_does_not_end_what_an_earlier_one_may_have_reached",
    ),
    Mutation(
        "a cancellation asked for again is answered alike",
        "core/messages/commands.py",
        "is_new = standing.status is not MessageStatus.CANCELED",
        "is_new = True",
        "test_decisions.py::test_a_cancellation_whose_answer_is_lost_is_answered_alike_when_asked_again",
    ),
)


def mutated(folder: Path, mutation: Mutation) -> Path:
    """A copy of the code without a safeguard; returns the folder to import from. Raises Useless."""
    for name in ("src", "migrations"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "graphiql"))
    path = folder / "src" / mutation.file
    text = path.read_text()
    if (found := text.count(mutation.before)) != 1:
        raise Useless(f"{mutation.safeguard}: {mutation.before.strip()!r} is {found} times in {mutation.file}")
    changed = text.replace(mutation.before, mutation.after)
    compile(changed, mutation.file, "exec")
    path.write_text(changed)
    return folder / "src"


def outcome(test: str, source: Path | None = None) -> tuple[int, str]:
    """Run one test, on the code in a folder or on that which is installed; its exit status and what it said."""
    environment = {**os.environ, **{name: os.environ.get(name, size) for name, size in SMALL.items()}}
    if source is not None:
        environment["FAULT_SOURCE"] = str(source)
    command = [sys.executable, "-m", "pytest", f"{LONG}/{test}", "-q"]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def is_noticed(mutation: Mutation) -> bool:
    """Whether the suite turns red without the safeguard, for a reason and not because nothing starts any more."""
    with tempfile.TemporaryDirectory(prefix="interalpha-mutation-") as folder:
        status, said = outcome(mutation.test, mutated(Path(folder), mutation))
    if status == RED and "NotBuilt" not in said:
        reason = next((line for line in said.splitlines() if line.startswith("E  ")), "E  ?")
        sys.stdout.write(f"  noticed: {mutation.safeguard}: {reason[2:].strip()[:140]}\n")
        return True
    sys.stdout.write(f"  NOT NOTICED ({status}): {mutation.safeguard}\n{said[-2_000:]}\n")
    return False


def main(words: list[str]) -> int:
    """Run the mutations."""
    chosen = [one for one in MUTATIONS if not words or any(word in one.safeguard for word in words)]
    for test in dict.fromkeys(one.test for one in chosen):
        status, said = outcome(test)
        sys.stdout.write(f"  as it is: {'green' if status == GREEN else 'RED'}: {test}\n")
        if status != GREEN:
            sys.stdout.write(said[-2_000:])
            return RED
    noticed = [is_noticed(one) for one in chosen]
    sys.stdout.write(f"mutations: {sum(noticed)} of {len(chosen)} noticed\n")
    return GREEN if chosen and all(noticed) else RED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
