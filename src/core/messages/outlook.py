"""What became of each step of a message's route, and what can still be asked for: told from what is known of it."""

from collections.abc import Sequence

from core.messages.history import AttemptView
from core.messages.read import Message
from core.messages.route import has_room, latest_round
from core.messages.transitions import can_be_stopped
from core.messages.values import AttemptOutcome, Direction, MessageStatus, RouteGoal, RouteOutcome
from core.ports import ReportedStatus

_GOALS = {RouteGoal.SENT: ReportedStatus.SENT.rank, RouteGoal.DELIVERED: ReportedStatus.DELIVERED.rank}
_AT_REST = frozenset(
    {MessageStatus.FAILED, MessageStatus.CANCELED, MessageStatus.DELIVERED, MessageStatus.READ, MessageStatus.RECEIVED}
)
# What the step under way has come to, where no report says more; in every other status it is being tried.
_PRESENT = {
    MessageStatus.SCHEDULED: RouteOutcome.WAITING,
    MessageStatus.UNCONFIRMED: RouteOutcome.UNCONFIRMED,
    MessageStatus.FAILED: RouteOutcome.FAILED,
    MessageStatus.CANCELED: RouteOutcome.SKIPPED,
    # What was written to us was delivered without a call of ours.
    MessageStatus.RECEIVED: RouteOutcome.DELIVERED,
    MessageStatus.DELIVERED: RouteOutcome.DELIVERED,
    MessageStatus.READ: RouteOutcome.DELIVERED,
}


def outcomes(message: Message, attempts: Sequence[AttemptView]) -> list[RouteOutcome]:
    """What became of each step, in the order of the route."""
    tried = [[one for one in attempts if one.step == number] for number in range(len(message.route))]
    return [_outcome(message, number, those) for number, those in enumerate(tried)]


def _outcome(message: Message, number: int, tried: Sequence[AttemptView]) -> RouteOutcome:
    if _has_reached(message.route[number].until, [one.rank for one in tried]):
        return RouteOutcome.DELIVERED
    if number > message.step and tried and all(_has_failed(one) or _is_in_doubt([one]) for one in tried):
        # An earlier step holds the message after all.
        return RouteOutcome.UNCONFIRMED if _is_in_doubt(tried) else RouteOutcome.FAILED
    if number > message.step:
        is_over = message.status in _AT_REST or _is_settled(message)
        return RouteOutcome.SKIPPED if is_over else RouteOutcome.WAITING
    if number < message.step:
        return RouteOutcome.UNCONFIRMED if _is_in_doubt(tried) else RouteOutcome.FAILED
    return _PRESENT.get(message.status, RouteOutcome.TRYING)


def _has_reached(goal: RouteGoal, ranks: Sequence[int]) -> bool:
    # FAILED ranks above SENT and below DELIVERED, and is neither.
    return any(rank >= _GOALS[goal] and rank != ReportedStatus.FAILED.rank for rank in ranks)


def _is_settled(message: Message) -> bool:
    """Whether its present step was all that was asked for, so that no other will be tried."""
    return message.status is MessageStatus.SENT and message.route[message.step].until is RouteGoal.SENT


def _has_failed(one: AttemptView) -> bool:
    refused = one.outcome in (AttemptOutcome.REJECTED, AttemptOutcome.UNAVAILABLE)
    return one.rank == ReportedStatus.FAILED.rank or (refused and one.rank == 0)


def _is_in_doubt(tried: Sequence[AttemptView]) -> bool:
    return bool(tried) and tried[-1].rank == 0 and tried[-1].outcome is AttemptOutcome.UNCONFIRMED


def needs_attempts(message: Message) -> bool:
    """Whether it takes its attempts to say if it can be stopped."""
    return message.direction is Direction.OUTBOUND and message.status is MessageStatus.QUEUED


def can_cancel(message: Message, attempts: Sequence[AttemptView]) -> bool:
    """Whether it can be stopped: nothing of it has left, nor perhaps has."""
    return message.direction is Direction.OUTBOUND and can_be_stopped(message.status, attempts)


def can_retry(message: Message) -> bool:
    """Whether another try over the route of its last one can be asked for."""
    has_failed = message.direction is Direction.OUTBOUND and message.status is MessageStatus.FAILED
    return has_failed and message.erased_at is None and has_room(message.route, latest_round(message.route))
