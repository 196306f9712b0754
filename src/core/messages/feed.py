"""What happens to a tenant's messages, read once for everybody in this process who follows them.

A feed lives while somebody follows. Woken by a hint, it reads what is new and hands it to the followers, each of whom
has a bounded queue: the database holds what a follower has not come to yet, as long as it keeps up.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from uuid import UUID

import structlog

from core.database import Database
from core.messages.news import Interest, News, StatusChange, here, read_news
from core.messages.places import Place
from core.patience import when_back
from core.pubsub import Hub, Listener
from core.sealing import Sealer

log = structlog.get_logger(__name__)

PAGE = 200
"""Changes read at once."""
ROOM = 1_000
"""Changes that wait for one follower, at most."""
_NAMED = 1_000
# Under load, changes are read together; the first one after a silence waits for nothing.
_BREATH = 0.01
_TURNS = 25


class Follower:
    """Somebody who follows, and what waits for them."""

    def __init__(self, interest: Interest) -> None:
        self.interest = interest
        self.keeps_up = True
        self._waiting: deque[StatusChange] = deque()
        self._news = asyncio.Event()
        self._is_away = False
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def hear(self, change: StatusChange) -> None:
        """Queue a change; when there is no room, everything that waits gives way to it, and it says so."""
        if self._is_away or not self.interest.fits(change):
            return
        if len(self._waiting) >= ROOM:
            self._waiting.clear()
            change = replace(change, has_gap=True)
        self._waiting.append(change)
        self._news.set()

    def fail(self, failure: BaseException) -> None:
        """Hear that there will be nothing more."""
        self._failure = failure
        self._news.set()

    def turn_away(self) -> None:
        """Queue nothing for a while, since it is read from the database."""
        self._is_away = True
        self._waiting.clear()

    def turn_back(self) -> None:
        """Queue what comes from now on."""
        self._is_away = False

    async def next(self) -> StatusChange:
        """Take the next change; raises what made the feed fail."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            self._news.clear()
            await self._news.wait()
        self.keeps_up = self.keeps_up or len(self._waiting) <= PAGE
        return self._waiting.popleft()


class Feed:
    """Reads one tenant's changes for all its followers."""

    def __init__(self, database: Database, sealer: Sealer, hub: Hub, tenant: UUID) -> None:
        self._database = database
        self._sealer = sealer
        self._hub = hub
        self._tenant = tenant
        self._place: Place | None = None
        self._followers: set[Follower] = set()
        self._arrivals: list[tuple[Follower, asyncio.Future[Place]]] = []
        self._listener: Listener | None = None

    @property
    def is_deserted(self) -> bool:
        """Whether nobody follows."""
        return not self._followers and not self._arrivals

    async def join(self, follower: Follower) -> Place:
        """Let somebody follow; they are told everything behind the place this returns."""
        joined: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._arrivals.append((follower, joined))
        if self._listener is not None:
            self._listener.look_again()
        return await joined

    def leave(self, follower: Follower) -> None:
        """Let somebody go."""
        self._followers.discard(follower)
        self._arrivals = [one for one in self._arrivals if one[0] is not follower]

    async def run(self) -> None:
        """Read and tell until cancelled; a failure is told to everybody who follows."""
        try:
            with self._hub.listen(self._tenant) as listener:
                self._listener = listener
                while True:
                    await self._look(listener)
                    await asyncio.sleep(_BREATH)
                    await listener.wait()
        except Exception as error:
            log.exception("feed_failed")
            for follower in self._followers:
                follower.fail(error)
            for _, joined in self._arrivals:
                if not joined.done():
                    joined.set_exception(error)

    async def _look(self, listener: Listener) -> None:
        arrivals = list(self._arrivals)
        ids = _named([*self._followers, *(follower for follower, _ in arrivals)])
        listener.listen_for(ids)
        while True:
            news = await when_back(partial(self._read, ids))
            for change in news.changes:
                for follower in self._followers:
                    follower.hear(change)
            self._place = news.place
            if news.is_all:
                break
            await self._wait_for_those_who_keep_up()
        for follower, joined in arrivals:
            if not joined.done():
                self._followers.add(follower)
                joined.set_result(news.place)
        self._arrivals = [one for one in self._arrivals if not one[1].done()]
        await self._wait_for_those_who_keep_up()

    async def _read(self, ids: frozenset[UUID] | None) -> News:
        async with self._hub.reading, self._database.transaction(self._tenant) as connection:
            if self._place is None:
                return News([], await here(connection), is_all=True)
            return await read_news(connection, self._sealer, self._tenant, self._place, ids=ids, limit=PAGE)

    async def _wait_for_those_who_keep_up(self) -> None:
        for _ in range(_TURNS):
            if not any(len(one) > PAGE and one.keeps_up for one in self._followers):
                return
            await asyncio.sleep(_BREATH)
        # Nobody waits for the others again until they have caught up by themselves.
        for follower in self._followers:
            follower.keeps_up = len(follower) <= PAGE


class Feeds:
    """The feeds of this process, by tenant."""

    def __init__(self, database: Database, sealer: Sealer, hub: Hub) -> None:
        self.database = database
        self.sealer = sealer
        self.hub = hub
        self._feeds: dict[UUID, tuple[Feed, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    @asynccontextmanager
    async def join(self, tenant: UUID, follower: Follower) -> AsyncIterator[Place]:
        """Follow for as long as the context is open; gives the place behind which everything is told."""
        if tenant not in self._feeds or self._feeds[tenant][1].done():
            begun = Feed(self.database, self.sealer, self.hub, tenant)
            self._feeds[tenant] = begun, asyncio.create_task(begun.run())
        feed, task = self._feeds[tenant]
        try:
            yield await feed.join(follower)
        finally:
            feed.leave(follower)
            is_current = self._feeds.get(tenant, (None,))[0] is feed
            if is_current and (feed.is_deserted or task.done()):
                del self._feeds[tenant]
                task.cancel()
                await asyncio.wait([task])


def _named(followers: list[Follower]) -> frozenset[UUID] | None:
    """The only messages anybody follows; None when it is all of them, or too many to name."""
    named: set[UUID] = set()
    for follower in followers:
        if follower.interest.ids is None:
            return None
        named |= follower.interest.ids
    return frozenset(named) if len(named) <= _NAMED else None
