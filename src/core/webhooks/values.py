"""The words of the inbox: what became of something a company told us."""

from enum import StrEnum


class WebhookStatus(StrEnum):
    """RECEIVED until the worker has dealt with it; IGNORED when nothing here cares; FAILED when it was given up."""

    RECEIVED = "RECEIVED"
    PROCESSED = "PROCESSED"
    IGNORED = "IGNORED"
    FAILED = "FAILED"
