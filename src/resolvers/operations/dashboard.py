"""The dashboard in GraphQL: key figures, and a subscription to them."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

import strawberry

from core.errors import InputRule, InvalidInput
from core.operations.dashboard import DashboardView, TimeWindow
from core.ports import Channel
from core.ports.identity import Scope
from core.words import say
from resolvers.context import Info
from resolvers.fields import computed
from resolvers.integrations import Integration, list_integrations

MOST_SECONDS = 3_600


@strawberry.type(
    description=(
        "The outcomes of the messages created in the window, by their current channel. Channels without messages "
        "are left out."
    )
)
class ChannelCounters:
    channel: Channel
    sent: int = strawberry.field(description="Accepted by the provider.")
    delivered: int = strawberry.field(
        description="Reported as delivered or read. Mail servers do not report deliveries."
    )
    failed: int
    delivery_rate: float | None = strawberry.field(
        description="Delivered divided by sent, from 0 to 1; null when none was sent, and for channels without"
        " delivery reports (e-mail)."
    )
    median_delivery_seconds: float | None = strawberry.field(
        description="The time from sent to delivered. Null when no delivery was reported."
    )


@strawberry.type(description="The key figures of the business.")
class Dashboard:
    occasion: strawberry.Private[DashboardView]

    @computed()
    def window(self) -> TimeWindow:
        return self.occasion.window

    @computed("When the figures were counted.")
    def at(self) -> datetime:
        return self.occasion.at

    @computed()
    def messages(self) -> list[ChannelCounters]:
        return [
            ChannelCounters(
                channel=one.channel,
                sent=one.sent,
                delivered=one.delivered,
                failed=one.failed,
                delivery_rate=one.delivery_rate,
                median_delivery_seconds=one.median_delivery_seconds,
            )
            for one in self.occasion.messages
        ]

    @computed()
    def integrations(self, info: Info) -> list[Integration]:
        return list_integrations(info)

    @computed("Failed work that waits for a decision.")
    def dead_letters(self) -> int:
        return self.occasion.dead_letters

    @computed("Messages that wait for a worker or for their next attempt.")
    def queue_depth(self) -> int:
        return self.occasion.queue_depth


async def get_dashboard(info: Info, window: TimeWindow = TimeWindow.LAST_DAY) -> Dashboard:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    return Dashboard(occasion=await info.context.services.dashboards.read(tenant, window))


async def dashboard_updated(
    info: Info, window: TimeWindow = TimeWindow.LAST_HOUR, every_seconds: int = 2
) -> AsyncGenerator[Dashboard, None]:
    tenant = info.context.require(Scope.OPERATIONS_READ).tenant_id
    if not 1 <= every_seconds <= MOST_SECONDS:
        text = say("EVERY_SECONDS", "`everySeconds` must be from 1 to {most}.", most=MOST_SECONDS)
        raise InvalidInput(text, path=["everySeconds"], rule=InputRule.OUT_OF_RANGE)
    async with aclosing(info.context.services.dashboards.watch(tenant, window, every_seconds)) as views:
        async for view in views:
            yield Dashboard(occasion=view)
