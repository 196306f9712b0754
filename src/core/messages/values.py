"""The words of messages: where they stand, how an attempt ended, what a route asks for, who made something happen."""

from enum import StrEnum


class Direction(StrEnum):
    """Whether we wrote or they did."""

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


class MessageStatus(StrEnum):
    """Where a message stands."""

    SCHEDULED = "SCHEDULED"
    QUEUED = "QUEUED"
    SENDING = "SENDING"
    UNCONFIRMED = "UNCONFIRMED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    READ = "READ"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    # Of what people wrote to us. It is stored as DELIVERED, as every version before did, and told as this.
    RECEIVED = "RECEIVED"


def told_status(status: MessageStatus, direction: Direction) -> MessageStatus:
    """The status that clients are told: what came in is received."""
    came_in = direction is Direction.INBOUND and status is MessageStatus.DELIVERED
    return MessageStatus.RECEIVED if came_in else status


class AttemptOutcome(StrEnum):
    """How a call to a company ended."""

    IN_FLIGHT = "IN_FLIGHT"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNAVAILABLE = "UNAVAILABLE"
    UNCONFIRMED = "UNCONFIRMED"


class RouteGoal(StrEnum):
    """What a channel must reach for the route to stop there."""

    SENT = "SENT"
    DELIVERED = "DELIVERED"


class UnconfirmedPolicy(StrEnum):
    """What to do when nobody can say whether a send happened."""

    WAIT = "WAIT"
    RESEND = "RESEND"
    NEXT_CHANNEL = "NEXT_CHANNEL"


class RouteOutcome(StrEnum):
    """What became of one step of a route."""

    WAITING = "WAITING"
    TRYING = "TRYING"
    UNCONFIRMED = "UNCONFIRMED"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class EventSource(StrEnum):
    """Who or what made something happen."""

    API = "API"
    SCHEDULER = "SCHEDULER"
    WORKER = "WORKER"
    WEBHOOK = "WEBHOOK"
    OPERATOR = "OPERATOR"
