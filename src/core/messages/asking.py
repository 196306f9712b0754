"""Asking a company what became of a message: within its time, and never in the way of what else is asked."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from core.errors import ProviderError
from core.ports import DeliveryLookup, Sighting, Sought
from core.sealing import SealBroken

log = structlog.get_logger(__name__)


async def ask(
    lookup: DeliveryLookup, integration: str, message_id: UUID, sought: Callable[[], Sought], deadline: timedelta
) -> Sequence[Sighting] | None:
    """What its books show; None when it could not be asked or could not say. Never raises.

    `sought` reads the message: one that cannot be read is not asked for.
    """
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            return await lookup.find(sought())
    except (ProviderError, TimeoutError, SealBroken) as error:
        reason = reason_of(error, deadline)
        log.warning("look_up_failed", integration=integration, message_id=str(message_id), **reason)
    except Exception:
        # Whatever another version wrote there: it would come back for ever, and its neighbours with it.
        log.exception("look_up_broke", integration=integration, message_id=str(message_id))
    return None


def reason_of(error: Exception, deadline: timedelta) -> dict[str, str]:
    """Why a question to a provider was not answered, as a log names it."""
    said = {"error": type(error).__name__}
    if isinstance(error, ProviderError):
        code = {"provider_code": error.provider_code} if error.provider_code else {}
        return {**said, "reason": error.message, **code}
    if isinstance(error, TimeoutError):
        return {**said, "reason": f"no whole answer within {deadline.total_seconds():.0f} s"}
    return {**said, "reason": str(error)}
