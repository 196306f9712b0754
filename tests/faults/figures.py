"""A run in figures."""

from collections import Counter
from dataclasses import dataclass

from tests.faults.evidence import Evidence, tracebacks
from tests.faults.storm import Storm

VISIBLE_ENDS = ("FAILED", "CANCELED", "EXPIRED")


@dataclass(frozen=True)
class Figures:
    """What came of a run."""

    seed: str
    accepted: int
    delivered: int
    sent: int
    ended: int
    unconfirmed: int
    doubled: int
    lost: int
    faults: int
    kills: int
    kills_under_load: int
    ambiguous: int
    left_open: int
    """Answers that faults left open: companies' own, connections broken under calls, workers killed in the middle."""
    ever_unconfirmed: int
    worst_recovery: float
    worst_fault: str
    unrecovered: int
    p50: float
    p99: float
    waits: int
    tracebacks: int

    def line(self) -> str:
        """The figures as one paragraph for people."""
        return (
            f"seed {self.seed}: accepted {self.accepted}, delivered {self.delivered}, sent {self.sent}, "
            f"ended visibly {self.ended}, unconfirmed {self.unconfirmed} (ever: {self.ever_unconfirmed}, "
            f"answers left open by companies: {self.ambiguous}), doubled {self.doubled}, lost {self.lost}; "
            f"faults {self.faults}, workers killed {self.kills} (with work in hand: {self.kills_under_load}); "
            f"worst recovery {self.worst_recovery:.1f} s ({self.worst_fault}), not recovered {self.unrecovered}; "
            f"accepting p50 {self.p50 * 1000:.0f} ms, p99 {self.p99 * 1000:.0f} ms, asked again {self.waits}; "
            f"tracebacks {self.tracebacks}"
        )


def reasons(evidence: Evidence) -> Counter[str]:
    """Why attempts came to be unconfirmed, and how often."""
    return Counter(
        event["detail"]
        for events in evidence.events.values()
        for event in events
        if event["status"] == "UNCONFIRMED" and event["previous_status"] != "UNCONFIRMED"
    )


def figures(storm: Storm, evidence: Evidence) -> Figures:
    """Count."""
    promised = {acked.message_id for acked in evidence.acked}
    statuses = Counter(evidence.messages[one]["status"] for one in promised if one in evidence.messages)
    took = sorted(acked.took for acked in evidence.acked) or [0.0]
    recoveries = [(one.recovered_in or 0.0, one.name) for one in storm.struck]
    worst, name = max(recoveries, default=(0.0, "none"))
    return Figures(
        seed=storm.seed,
        accepted=len(promised),
        delivered=statuses["DELIVERED"] + statuses["READ"],
        sent=statuses["SENT"],
        ended=sum(statuses[one] for one in VISIBLE_ENDS),
        unconfirmed=statuses["UNCONFIRMED"],
        doubled=sum(len(copies) > 1 for copies in evidence.copies.values()),
        lost=sum(one not in evidence.messages for one in promised),
        faults=len(storm.struck),
        kills=storm.city.kills,
        kills_under_load=storm.city.kills_under_load,
        ambiguous=storm.city.ambiguous,
        left_open=storm.city.ambiguous + storm.city.wires["twilio"].broken + storm.city.left_in_hand,
        ever_unconfirmed=sum(
            any(event["status"] == "UNCONFIRMED" for event in events) for events in evidence.events.values()
        ),
        worst_recovery=worst,
        worst_fault=name,
        unrecovered=sum(one.is_probed and one.recovered_in is None for one in storm.struck),
        p50=took[len(took) // 2],
        p99=took[int(len(took) * 0.99)],
        waits=storm.traffic.waits,
        tracebacks=len(tracebacks(evidence.logs)),
    )
