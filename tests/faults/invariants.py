"""What must hold after every run. Each invariant yields a sentence for each breach."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

import asyncpg

from tests.faults.evidence import Copy, Evidence
from tests.faults.traffic import CANARY

ENDED = frozenset({"FAILED", "DELIVERED", "READ", "CANCELED", "EXPIRED"})
OPEN = frozenset({"SENT", "UNCONFIRMED"})
"""Not at an end: a report may still come."""
REPORTED = {"SENT": 1, "FAILED": 2, "DELIVERED": 3, "READ": 4}
PROVEN = ("DELIVERED", "READ")
_CLOCK = timedelta(milliseconds=2)

Invariant = Callable[[Evidence], Iterator[str]]


def every_client_was_answered(evidence: Evidence) -> Iterator[str]:
    """No client got a wrong answer, and none had to give up."""
    yield from evidence.refused
    if evidence.given_up:
        yield f"{evidence.given_up} clients gave up"


def what_was_accepted_exists(evidence: Evidence) -> Iterator[str]:
    """Each accepted message exists."""
    for accepted in evidence.accepted:
        if accepted.message_id not in evidence.messages:
            yield f"{accepted.message_id} was accepted and does not exist"


def nothing_is_left_behind(evidence: Evidence) -> Iterator[str]:
    """When the system is quiet, no message waits or is leased, and no report is unread."""
    for message_id, row in evidence.messages.items():
        if row["status"] not in ENDED | OPEN or row["lease_until"] is not None:
            yield f"{message_id} is left {row['status']}, due {row['due_at']}, leased until {row['lease_until']}"
    for row in evidence.unread:
        yield f"a report is left {row['status']}: {row['event_type']}, {row['error']}"


def what_was_sent_is_in_the_providers_log(evidence: Evidence) -> Iterator[str]:
    """What counts as sent is in the provider's log, and what is in that log is in the database."""
    for message_id, row in evidence.messages.items():
        has_gone = bool(evidence.copies.get(message_id))
        if row["status"] in ("SENT", "DELIVERED", "READ") and not has_gone:
            yield f"{message_id} is {row['status']}, and the provider never received it"
        if row["status"] not in ENDED | OPEN and not has_gone:
            yield f"{message_id} is {row['status']}, and the provider never received it"
    for message_id in evidence.copies.keys() - evidence.messages.keys():
        yield f"{message_id} was sent, and is not ours"


def no_step_is_sent_twice_without_reason(evidence: Evidence) -> Iterator[str]:
    """An attempt makes one call; a step makes two only if the outcome was unknown and its policy is RESEND."""
    for message_id, copies in evidence.copies.items():
        row = evidence.messages.get(message_id)
        if row is None:
            continue
        calls: dict[int | None, int] = defaultdict(int)
        for copy in copies:
            calls[copy.attempt] += 1
        for attempt, number in calls.items():
            if attempt is not None and number > 1:
                yield f"{message_id}: attempt {attempt} was sent {number} times"
        for step, number in _by_step(evidence, copies).items():
            allowed = 1 + _resends(evidence, row, step)
            if number > allowed:
                yield f"{message_id}: step {step} was sent {number} times, {allowed} at most were allowed"


def _by_step(evidence: Evidence, copies: list[Copy]) -> Mapping[int, int]:
    found: dict[int, int] = defaultdict(int)
    for copy in copies:
        attempts = evidence.attempts[copy.message_id]
        named = [one for one in attempts if one["number"] == copy.attempt]
        mailed = [one for one in attempts if one["channel"] == "EMAIL"]
        # A copy without an attempt is another breach; here it counts for the first step.
        found[next((one["step"] for one in named or mailed or attempts), 0)] += 1
    return found


def _resends(evidence: Evidence, row: asyncpg.Record, step: int) -> int:
    """Return how often a step may be sent again: once, if its policy is RESEND and its outcome was unknown."""
    place = json.loads(row["route"])[step]
    policy = place.get("onUnconfirmed") or ("RESEND" if place["channel"] == "EMAIL" else "WAIT")
    if policy != "RESEND":
        return 0
    of_step = {one["number"] for one in evidence.attempts[row["id"]] if one["step"] == step}
    unconfirmed = {one["attempt"] for one in evidence.events[row["id"]] if one["status"] == "UNCONFIRMED"}
    return min(1, len(of_step & unconfirmed))


def attempts_do_not_overlap(evidence: Evidence) -> Iterator[str]:
    """Tokens grow, attempts of a step do not overlap, and an attempt is recorded before it is sent."""
    for message_id, attempts in evidence.attempts.items():
        for before, after in pairwise(attempts):
            if after["token"] <= before["token"]:
                yield f"{message_id}: attempt {after['number']} has no newer token than the one before"
            ends, begins = before["finished_at"], after["started_at"]
            if before["step"] == after["step"] and ends and begins and begins < ends:
                yield f"{message_id}: attempt {after['number']} began before the one before had ended"
        begun = {one["number"]: one["started_at"] for one in attempts}
        for copy in evidence.copies.get(message_id, []):
            if copy.attempt is None:
                continue
            started = begun.get(copy.attempt)
            if started is None or copy.at + _CLOCK < started:
                yield f"{message_id}: attempt {copy.attempt} reached the provider before it was written down as begun"


def no_status_falls_back(evidence: Evidence) -> Iterator[str]:
    """Each event continues from the one before, and no report lowers a status."""
    for message_id, events in evidence.events.items():
        status = None
        for event in events:
            if event["previous_status"] != status:
                yield f"{message_id}: an event goes on from {event['previous_status']}, the last one led to {status}"
            fell = REPORTED.get(event["status"], 0) < REPORTED.get(status or "", 0)
            # Back to QUEUED: the next step of a route, or another try.
            if fell and (event["status"] != "QUEUED" or status in PROVEN):
                yield f"{message_id}: {event['source']} took it from {status} to {event['status']}"
            status = event["status"]
        row = evidence.messages.get(message_id)
        if row is not None and row["status"] != status:
            yield f"{message_id} is {row['status']}, its last event has {status}"


def every_answered_report_counts(evidence: Evidence) -> Iterator[str]:
    """Each report answered with 2xx is recorded for its attempt, and no more than was reported."""
    ranks = {(message_id, one["number"]): one["rank"] for message_id, rows in evidence.attempts.items() for one in rows}
    for place, rank in evidence.answered.items():
        if ranks.get(place, 0) < rank:
            yield f"{place[0]}: attempt {place[1]} was reported as {rank}, it is known as {ranks.get(place)}"
    for message_id, row in evidence.messages.items():
        best = max((one["rank"] for one in evidence.attempts[message_id]), default=0)
        if best >= REPORTED["DELIVERED"] and REPORTED.get(row["status"], 0) < best:
            yield f"{message_id} is {row['status']}, and one of its attempts is known as {best}"
    for copies in evidence.copies.values():
        for copy in copies:
            known = ranks.get((copy.message_id, copy.attempt or 0), 0)
            # The answer to our call counts as "sent" before the provider reports it.
            if copy.attempt is not None and known > max(copy.reported, 1):
                yield f"{copy.message_id}: attempt {copy.attempt} is known as {known}, reported was {copy.reported}"


def one_effect_for_each_key(evidence: Evidence) -> Iterator[str]:
    """One message for each tenant and key, the same in every answer, and no message without a key."""
    for accepted in evidence.accepted:
        kept = evidence.keys.get((accepted.order.tenant, accepted.order.key))
        if kept != accepted.message_id:
            yield f"{accepted.order.key} was answered with {accepted.message_id}, and is stored as {kept}"
    orphans = evidence.messages.keys() - set(evidence.keys.values())
    for message_id in orphans:
        yield f"{message_id} exists, and no key led to it"
    for key, message_id in evidence.keys.items():
        if message_id not in evidence.messages:
            yield f"the key {key[1]} leads to {message_id}, which does not exist"


def no_transaction_is_left_open(evidence: Evidence) -> Iterator[str]:
    """No connection of the product is idle in a transaction."""
    for row in evidence.idle:
        yield f"{row['usename']} is {row['state']} since {row['xact_start']}"


def logs_hold_no_personal_data(evidence: Evidence) -> Iterator[str]:
    """No log holds an address or a text."""
    numbers = {
        accepted.order.to.removeprefix("+55") for accepted in evidence.accepted if accepted.order.channel != "EMAIL"
    }
    for name, text in evidence.logs.items():
        for found in re.findall(r"(?<![0-9a-f-])(?:\+?55)?(119[0-9]{8})(?![0-9a-f])", text):
            if found in numbers:
                yield f"{name} holds a telephone number"
        if CANARY in text:
            yield f"{name} holds a message's text"
        if "@loja.example.com" in text:
            yield f"{name} holds a mailbox"


ALL: tuple[Invariant, ...] = (
    every_client_was_answered,
    what_was_accepted_exists,
    nothing_is_left_behind,
    what_was_sent_is_in_the_providers_log,
    no_step_is_sent_twice_without_reason,
    attempts_do_not_overlap,
    no_status_falls_back,
    every_answered_report_counts,
    one_effect_for_each_key,
    no_transaction_is_left_open,
    logs_hold_no_personal_data,
)


def breaches(evidence: Evidence) -> dict[str, list[str]]:
    """Return the breaches by the name of the invariant."""
    found = {one.__name__: list(one(evidence)) for one in ALL}
    return {name: broken for name, broken in found.items() if broken}


def check(evidence: Evidence, *, seed: str) -> None:
    """Raise AssertionError with every breach."""
    found = breaches(evidence)
    words = [f"{name}: {len(broken)}\n    " + "\n    ".join(broken[:5]) for name, broken in found.items()]
    assert not found, f"after seed {seed}:\n  " + "\n  ".join(words)


def story(evidence: Evidence, message_id: UUID) -> str:
    """Return all that is known of one message, to analyse a breach."""
    lines = [str(dict(evidence.messages[message_id])) if message_id in evidence.messages else "no row"]
    lines += [str(dict(row)) for row in evidence.attempts.get(message_id, [])]
    lines += [str(dict(row)) for row in evidence.events.get(message_id, [])]
    lines += [str(copy) for copy in evidence.copies.get(message_id, [])]
    return "\n".join(lines)
