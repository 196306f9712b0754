"""Meta's answers and reports as our errors; what the codes mean is in `codes.py`.

The code decides; the HTTP status only where the code says nothing.
"""

from collections.abc import Mapping
from dataclasses import replace

from core.errors import FailureParty, FailureReason, ProviderError
from core.ports import Failure
from integrations.provider_errors import Meaning, error, failure
from integrations.whatsapp.codes import (
    BROKE_DOWN,
    MEANINGS,
    NO_PERMISSION,
    NOT_ADMITTED,
    SLOW_DOWN,
    SUBCODES,
    of_range,
)

PROVIDER = "whatsapp"

# What an answer means by its status, where its code is not in the table. A 429 was surely not processed.
_BY_STATUS: Mapping[int, Meaning] = {
    401: NOT_ADMITTED,
    403: NO_PERMISSION,
    404: replace(NOT_ADMITTED, message="Meta knows no such address: see WHATSAPP_API_BASE and WHATSAPP_API_VERSION."),
    407: replace(NOT_ADMITTED, message="A proxy stands before Meta and refuses us."),
    408: BROKE_DOWN,
    429: SLOW_DOWN,
}
_ELSEWHERE = replace(NOT_ADMITTED, message="Meta's address leads elsewhere: see WHATSAPP_API_BASE.")


def failure_of(code: int | None) -> Failure:
    """What the code of a failed message means; None is no reason given."""
    if code is None:
        return Failure(FailureReason.OTHER, FailureParty.PROVIDER, "Meta gave no reason.")
    return failure(MEANINGS.get(code) or of_range(code), str(code))


def error_of(
    status: int,
    code: int | None = None,
    subcode: int | None = None,
    *,
    retry_after: float | None = None,
    answer: str | None = None,
) -> ProviderError:
    """The error to raise for an answer of this status, and this code in its body; `answer` is what of it is kept."""
    named = str(status if code is None else code)
    return error(PROVIDER, named, _meaning(status, code, subcode), retry_after=retry_after, answer=answer)


def _meaning(status: int, code: int | None, subcode: int | None) -> Meaning:
    if code is not None:
        known = (SUBCODES.get((code, subcode)) if subcode is not None else None) or MEANINGS.get(code)
        if known is not None:
            return known
    if status >= 500:
        return BROKE_DOWN
    if 300 <= status < 400:
        return _ELSEWHERE
    return _BY_STATUS.get(status) or of_range(status if code is None else code)
