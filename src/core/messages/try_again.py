"""Trying one failed message again because its sender asked: over its own route, or over another one that fits it."""

from collections.abc import Sequence
from uuid import UUID

from core.access.reach import EVERYWHERE, Reach
from core.audit.act import Act
from core.errors import NotFound
from core.messages import read
from core.messages.accept import Outbox
from core.messages.addresses import known_address
from core.messages.bounds import Bounds
from core.messages.check import check_route
from core.messages.retry import is_retried, retry
from core.messages.route import Step
from core.messages.values import EventSource
from core.words import say


async def try_again(
    outbox: Outbox,
    tenant: UUID,
    message_id: UUID,
    route: Sequence[Step] | None,
    *,
    may_double: bool = True,
    reach: Reach = EVERYWHERE,
    act: Act | None = None,
) -> None:
    """Put a failed message back in its queue, with a new budget of tries, if it lies within its caller's reach.

    One that a company perhaps took may arrive twice; without `may_double` it is refused. Asked again while that try
    goes on, or has come through, nothing changes. Raises NotFound, InvalidState,
    NotConfigured, or Refused with all that is wrong with the route.
    """
    if route is not None:
        await _check(outbox, tenant, message_id, route, reach)
    async with outbox.database.transaction(tenant) as connection:
        is_outside = await Bounds(outbox.sealer, reach).outside(connection, tenant, [message_id])
        if not is_outside and await is_retried(connection, tenant, message_id, route, outbox.channels):
            if act is not None:
                await act.done(connection, "Message", [])
            return
        retried = await retry(
            connection,
            tenant,
            message_id,
            route,
            EventSource.API,
            channels=outbox.channels,
            may_double=may_double,
            bounds=Bounds(outbox.sealer, reach),
        )
        if act is not None:
            await act.done(connection, "Message", [message_id])
    await outbox.hub.publish([retried.change])
    await outbox.wake(retried.channel)


async def _check(outbox: Outbox, tenant: UUID, message_id: UUID, route: Sequence[Step], reach: Reach) -> None:
    async with outbox.database.transaction(tenant) as connection:
        found = await read.by_ids(connection, outbox.sealer, tenant, [message_id], sealed=["to", "content"])
    message = found.get(message_id)
    if message is None:
        raise NotFound(say("MESSAGE_NOT_FOUND", "There is no such message."))
    # What is no longer kept cannot be sent again over any route: whoever tries is told so.
    if message.to is None or message.content is None:
        return
    check_route(route, message.content, known_address(message.to), outbox.channels, ["input", "route"], reach)
