"""Following messages live: the present state or what was missed first, then every change, none left out or told twice.

Whoever follows joins the feed first and then reads from the database; what the feed tells meanwhile is skipped if it
was read already. Snapshots say so exactly, whatever order transactions end in.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from uuid import UUID

from core.messages.feed import PAGE, Feeds, Follower
from core.messages.news import Interest, News, StatusChange, check_kept, read_news, read_opening
from core.messages.places import Place
from core.patience import when_back


async def follow(
    feeds: Feeds, tenant: UUID, interest: Interest, after: Place | None
) -> AsyncGenerator[StatusChange, None]:
    """Yield a tenant's changes: those behind `after`, or else the present state of messages named by id, and then live.

    Raises CursorExpired.
    """
    follower = Follower(interest)
    if after is not None and not after.is_opening:
        async with feeds.database.transaction(tenant) as connection:
            await check_kept(connection, tenant, after)
        follower.turn_away()
    else:
        after = None
    async with feeds.join(tenant, follower) as place:
        if after is not None:
            async with aclosing(_missed(feeds, tenant, follower, after)) as missed:
                async for news in missed:
                    for change in filter(interest.fits, news.changes):
                        yield change
                    place = news.place
        elif interest.ids is not None:
            opening, place = await when_back(partial(_opening, feeds, tenant, interest.ids))
            for change in filter(interest.fits, opening):
                yield change
        has_gap = False
        while True:
            change = await follower.next()
            has_gap |= change.has_gap
            if not place.is_past(change.transaction, change.event.sequence):
                yield _told_from(change, place, has_gap=has_gap)
                has_gap = False


def _told_from(change: StatusChange, place: Place, *, has_gap: bool) -> StatusChange:
    """What the feed tells, for somebody who was told of all behind a place that the feed may not have come to yet.

    The feed goes on from where it stood, by number: a lower number that came to light late is told while higher ones
    that this somebody has read already still lie ahead of the feed, and must not lie ahead of their cursor.
    """
    standing = change.place.also_past(place.seen)
    # The same for all who are told the same, so that it is executed once: another one only where it differs.
    if standing is change.place and has_gap == change.has_gap:
        return change
    return replace(change, place=standing, has_gap=has_gap)


async def _missed(feeds: Feeds, tenant: UUID, follower: Follower, place: Place) -> AsyncGenerator[News, None]:
    """Read what is behind a place, page by page, until the follower's queue holds everything after it."""

    async def read() -> News:
        async with feeds.hub.reading, feeds.database.transaction(tenant) as connection:
            return await read_news(connection, feeds.sealer, tenant, place, ids=follower.interest.ids, limit=PAGE)

    is_listening = False
    while True:
        news = await when_back(read)
        yield news
        place = news.place
        if not news.is_all:
            follower.turn_away()
            is_listening = False
        elif is_listening:
            return
        else:
            # What comes between this look and the next is both read and queued.
            follower.turn_back()
            is_listening = True


async def _opening(feeds: Feeds, tenant: UUID, ids: frozenset[UUID]) -> tuple[list[StatusChange], Place]:
    async with feeds.hub.reading, feeds.database.transaction(tenant) as connection:
        return await read_opening(connection, feeds.sealer, tenant, ids)
