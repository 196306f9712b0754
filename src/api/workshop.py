"""What one worker does: carries each channel's messages, applies the inbox, takes back what dead workers left."""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.bootstrap import House
from api.wake import INBOX
from core.messages.apply import apply_due
from core.messages.deliver import Courier
from core.messages.reclaim import take_back
from core.operations import heartbeat
from core.ports import Channel
from core.templates.keeping import CatalogueKeeper

_SWEEP = 1.0
_CATALOGUE_TICK = 2.0
_INBOX_TICK = 0.3


@dataclass(slots=True)
class Workshop:
    """Everything one worker process does."""

    house: House
    name: str
    couriers: Mapping[Channel, Courier]
    keepers: Sequence[CatalogueKeeper]
    inbox_woken: asyncio.Event

    async def wake(self, _context: object, *, topic: str) -> None:
        """The SAQ job: whoever may have work looks for it."""
        if topic == INBOX:
            self.inbox_woken.set()
        elif courier := self.couriers.get(Channel(topic)):
            courier.wake()

    async def deliver(self, courier: Courier) -> None:
        """One turn: wait for a wake-up, or a second, then send all that is due."""
        await courier.rest(_SWEEP)
        await courier.drain()

    async def read_inbox(self) -> None:
        """One turn: wait for a wake-up, or a moment, then apply all that is due."""
        try:
            async with asyncio.timeout(_INBOX_TICK):
                await self.inbox_woken.wait()
        except TimeoutError:
            pass
        self.inbox_woken.clear()
        while await apply_due(self.house.database, self.house.sealer, self.house.hub):
            pass

    async def sweep(self) -> None:
        """One turn: take back what dead workers left."""
        async with self.house.database.transaction() as connection:
            changes = await take_back(connection)
        await self.house.hub.publish(changes)
        await asyncio.sleep(_SWEEP)

    async def keep_templates(self, keeper: CatalogueKeeper) -> None:
        """One turn: read a company's templates if it is time, and look again in a moment."""
        await keeper.read_if_due()
        await asyncio.sleep(_CATALOGUE_TICK)

    async def beat(self) -> None:
        """One turn: say that we live."""
        await heartbeat.beat(self.house.database, self.name)
        await asyncio.sleep(heartbeat.INTERVAL)


def open_workshop(house: House) -> Workshop:
    """Set up a courier for each channel that somebody here serves."""
    name = f"{socket.gethostname()}:{os.getpid()}"
    couriers = {}
    for channel, service in house.services.outbox.channels.items():
        connected = house.connected.get(service.integration)
        if connected is not None and connected.sender is not None:
            couriers[channel] = Courier(
                channel,
                service.integration,
                connected.sender,
                house.database,
                house.sealer,
                house.hub,
                name,
                in_flight=connected.in_flight,
            )
    return Workshop(house, name, couriers, _keepers(house), asyncio.Event())


def _keepers(house: House) -> Sequence[CatalogueKeeper]:
    """One for each company that keeps templates for us."""
    served = ((channel, service.integration) for channel, service in house.services.outbox.channels.items())
    return [
        CatalogueKeeper(name, channel, connected.templates, house.database)
        for channel, name in served
        if (connected := house.connected.get(name)) is not None and connected.templates is not None
    ]
