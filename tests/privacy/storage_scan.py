"""Everything that is stored anywhere, with every sealed value opened."""

from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace

import asyncpg
from redis.asyncio import Redis

from api.migrations import metadata
from core.masking import decoded_parts
from core.sealing import SealBroken, Sealer, sealed_tables


async def everything_stored(owner: asyncpg.Connection, sealer: Sealer) -> AsyncIterator[tuple[str, str]]:
    """Every row of every table as text, and every sealed value opened: places and their text."""
    tables = await owner.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for name in (row["tablename"] for row in tables):
        for row in await owner.fetch(f"SELECT t::text AS whole FROM {name} t"):
            yield name, row["whole"]
    for one in sealed_tables(metadata):
        for row in await owner.fetch(f"SELECT * FROM {one.table.name}"):
            for column in one.columns:
                if (sealed := row[column.column.name]) is None:
                    continue
                place = f"{one.table.name}.{column.column.name}"
                try:
                    yield place, sealer.open(sealed, **one.place(SimpleNamespace(**dict(row)), column))
                except SealBroken as error:
                    raise AssertionError(f"{place} cannot be opened: a new sealed column breaks the rule") from error


async def everything_in(redis: Redis) -> AsyncIterator[tuple[str, str]]:
    """Every key and value of Valkey."""
    async for key in redis.scan_iter():
        kind = (await redis.type(key)).decode()
        reading = {
            "string": lambda key=key: redis.get(key),
            "hash": lambda key=key: redis.hgetall(key),
            "list": lambda key=key: redis.lrange(key, 0, -1),
            "set": lambda key=key: redis.smembers(key),
            "zset": lambda key=key: redis.zrange(key, 0, -1, withscores=True),
            "stream": lambda key=key: redis.xrange(key),
        }
        yield key.decode(errors="replace"), f"{key!r} {await reading[kind]()!r}"


def traces(place: str, text: str, needles: Iterable[str]) -> list[str]:
    """The needles that stand in a text, as it is or in base64."""
    shown = [text.lower(), *(one.lower() for one in decoded_parts(text))]
    return [f"{needle} in {place}" for needle in needles if any(needle.lower() in one for one in shown)]


async def found_anywhere(owner: asyncpg.Connection, redis: Redis, sealer: Sealer, needles: Iterable[str]) -> list[str]:
    """Where any of these is still stored."""
    wanted, found = list(needles), list[str]()
    async for place, text in everything_stored(owner, sealer):
        found += traces(place, text, wanted)
    async for place, text in everything_in(redis):
        found += traces(place, text, wanted)
    return sorted(set(found))
