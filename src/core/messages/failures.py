"""Why a message did not arrive, written down in its plain column: our words and codes, never the company's text."""

from collections.abc import Mapping
from typing import Any

from core.errors import FailureParty, FailureReason, ProviderError
from core.ports import Failure


def failure_of(error: ProviderError) -> Failure:
    """Turn a provider's refusal into what the message remembers of it."""
    return Failure(error.reason, error.party, error.message, error.provider_code, error.retryable)


def failure_to_json(failure: Failure | None) -> dict[str, Any] | None:
    """Write a failure down."""
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
    """Read what `failure_to_json` wrote."""
    if data is None:
        return None
    return Failure(
        FailureReason(data["reason"]),
        FailureParty(data["party"]),
        data["message"],
        data["providerCode"],
        data["isTransient"],
    )
