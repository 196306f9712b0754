"""Twilio's answers and reports as our errors; what the codes mean is in `codes.py`."""

from collections.abc import Mapping
from dataclasses import replace

from core.errors import FailureParty, FailureReason, ProviderError
from core.ports import Failure
from integrations.provider_errors import Meaning, error, failure
from integrations.twilio.codes import BROKE_DOWN, CREDENTIALS, FORBIDDEN, MEANINGS, NOT_FOUND, SLOW_DOWN, of_range

PROVIDER = "twilio"

# What an answer means by its status, where its code is not in the table. A 429 was surely not processed.
_BY_STATUS: Mapping[int, Meaning] = {
    401: CREDENTIALS,
    403: FORBIDDEN,
    404: NOT_FOUND,
    407: replace(FORBIDDEN, message="A proxy stands before Twilio and refuses us."),
    408: BROKE_DOWN,
    429: SLOW_DOWN,
}
_ELSEWHERE = replace(FORBIDDEN, message="Twilio's address leads elsewhere: see TWILIO_API_BASE.")


def failure_of(code: str) -> Failure:
    """What a callback's ErrorCode means for its message; an empty one is no reason given."""
    if not code:
        return Failure(FailureReason.OTHER, FailureParty.PROVIDER, "Twilio gave no reason.")
    return failure(MEANINGS.get(code) or of_range(code), code)


def error_of(
    status: int, code: str | None = None, *, retry_after: float | None = None, answer: str | None = None
) -> ProviderError:
    """The error to raise for an answer of this status, and this code in its body; `answer` is what of it is kept."""
    return error(PROVIDER, code or str(status), _meaning(status, code), retry_after=retry_after, answer=answer)


def _meaning(status: int, code: str | None) -> Meaning:
    if known := MEANINGS.get(code or ""):
        return known
    if status >= 500:
        return BROKE_DOWN
    if 300 <= status < 400:
        return _ELSEWHERE
    return _BY_STATUS.get(status) or of_range(code or str(status))
