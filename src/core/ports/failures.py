"""Encoding of failures for their unencrypted column: our texts and codes, never a provider's text."""

from collections.abc import Mapping
from typing import Any

from core.errors import FailureParty, FailureReason, ProviderError
from core.ports.reports import Failure

_REASONS = {one.value: one for one in FailureReason}
_PARTIES = {one.value: one for one in FailureParty}


def failure_of(error: ProviderError) -> Failure:
    """Make the failure of a message from a provider's error."""
    return Failure(error.reason, error.party, error.message, error.provider_code, error.retryable)


def failure_to_json(failure: Failure | None) -> dict[str, Any] | None:
    """Encode a failure."""
    if failure is None:
        return None
    return {
        "reason": failure.reason.value,
        "party": failure.party.value,
        "message": failure.message,
        "providerCode": failure.provider_code,
        "isTransient": failure.is_transient,
    }


def failure_from_json(data: Mapping[str, Any] | None) -> Failure | None:
    """Read what `failure_to_json` wrote; a reason that only a later version knows is another one.

    During a rolling deploy the row must break neither the page it is on nor what is decided about its message.
    """
    if data is None:
        return None
    return Failure(
        _REASONS.get(data["reason"], FailureReason.OTHER),
        _PARTIES.get(data["party"], FailureParty.PROVIDER),
        data["message"],
        data["providerCode"],
        data["isTransient"],
    )
