"""The words of messages: where they stand, how an attempt ended, who made something happen."""

from enum import StrEnum


class Direction(StrEnum):
    """Whether we wrote or they did."""

    OUTBOUND = "OUTBOUND"
    INBOUND = "INBOUND"


class MessageStatus(StrEnum):
    """Where a message stands."""

    QUEUED = "QUEUED"
    SENDING = "SENDING"
    UNCONFIRMED = "UNCONFIRMED"
    SENT = "SENT"
    DELIVERED = "DELIVERED"
    READ = "READ"
    FAILED = "FAILED"


class AttemptOutcome(StrEnum):
    """How a call to a company ended."""

    IN_FLIGHT = "IN_FLIGHT"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"
    UNAVAILABLE = "UNAVAILABLE"
    UNCONFIRMED = "UNCONFIRMED"


class EventSource(StrEnum):
    """Who or what made something happen."""

    API = "API"
    WORKER = "WORKER"
    WEBHOOK = "WEBHOOK"
