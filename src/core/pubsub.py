"""Hints between processes: "this message changed". PostgreSQL holds the truth; a lost hint costs a moment, no more.

One Redis subscription per process wakes the listeners concerned. A listener keeps no queue: once woken it reads what
is new from the database, and after Redis has been away everybody simply looks again.
"""

import asyncio
import ssl
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

from redis.asyncio import ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.log_throttle import ThrottledLog
from core.settings.redis_url import read_redis_url
from core.store_faults import fault_fields

_CHANNEL = "interalpha:changes"
# What `core/providers/scripts.py` says when a circuit's state changes.
_CIRCUITS = "interalpha:circuits"
_PUBLISH_LIMIT = 0.5
_PATIENCE_CONNECTED = 15.0
_PATIENCE_ALONE = 1.0
_IDLE_CHECK = 5.0
_READERS = 3


class _TlsConnection(SSLConnection):
    """A connection whose TLS is as the URL's reader has set it up."""

    def __init__(self, *, tls: ssl.SSLContext, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ssl_context.context = tls


def connect_redis(raw: str) -> Redis:
    """Give a client of the server that a `REDIS_URL` names; connections are opened when first needed.

    The URL is read by `core.settings.redis_url` alone, so that `interalpha check` shows what is connected to.
    """
    address = read_redis_url(raw)
    arguments: dict[str, Any] = {
        "socket_connect_timeout": 2,
        # Longer than any blocking read of SAQ's.
        "socket_timeout": 12,
        "health_check_interval": 15,
        # Whoever calls knows better than the client whether to try again.
        "retry": Retry(NoBackoff(), 0),
        # Without it the client would introduce its library, for which few users have the right.
        "driver_info": None,
        "username": address.user or None,
        "password": address.password or None,
        "db": address.db,
        **address.options,
    }
    if address.path:
        arguments.pop("socket_keepalive", None)
        arguments |= {"connection_class": UnixDomainSocketConnection, "path": address.path}
    else:
        arguments |= {"host": address.host, "port": address.port}
    if address.tls is not None:
        arguments |= {"connection_class": _TlsConnection, "tls": address.tls}
    return Redis.from_pool(ConnectionPool(**arguments))


class Change(NamedTuple):
    """A message that has news."""

    tenant_id: UUID
    message_id: UUID


class Listener:
    """Somebody who wants to know about a tenant's messages: those named, or all of them."""

    def __init__(self, hub: "Hub", tenant_id: UUID, message_ids: Collection[UUID] | None) -> None:
        self._hub = hub
        self._tenant_id = tenant_id
        self._message_ids = None if message_ids is None else frozenset(message_ids)
        self._news = asyncio.Event()

    def listen_for(self, message_ids: Collection[UUID] | None) -> None:
        """Care about other messages from now on."""
        self._message_ids = None if message_ids is None else frozenset(message_ids)

    def hear(self, change: Change) -> None:
        if change.tenant_id == self._tenant_id and (
            self._message_ids is None or change.message_id in self._message_ids
        ):
            self._news.set()

    def look_again(self) -> None:
        self._news.set()

    async def wait(self) -> None:
        """Return when there may be news: on a hint, and without one now and then, often while Redis is away."""
        patience = _PATIENCE_CONNECTED if self._hub.is_connected else _PATIENCE_ALONE
        try:
            async with asyncio.timeout(patience):
                await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._news.clear()


class Hub:
    """Publishes hints, and hears those of every process while `run` is under way."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._listeners: set[Listener] = set()
        self._watchers: set[Listener] = set()
        self.is_connected = False
        self._troubles, self._interruptions = ThrottledLog(), ThrottledLog()
        # What followers may hold of the database at once: those who send must not wait behind those who watch.
        self.reading = asyncio.Semaphore(_READERS)

    async def publish(self, changes: Iterable[Change]) -> None:
        """Tell every process; a failure is logged and forgotten, since whoever listens also looks by itself."""
        payload = b"".join(change.tenant_id.bytes + change.message_id.bytes for change in dict.fromkeys(changes))
        if not payload:
            return
        try:
            async with asyncio.timeout(_PUBLISH_LIMIT):
                await self._redis.publish(_CHANNEL, payload)
        except (RedisError, OSError, TimeoutError) as error:
            self._troubles.failed("hint_not_published", **fault_fields(error))
        else:
            self._troubles.succeeded("hints_published")

    @contextmanager
    def listen(self, tenant_id: UUID, message_ids: Collection[UUID] | None = None) -> Iterator[Listener]:
        """Hear about a tenant's messages for as long as the context is open."""
        listener = Listener(self, tenant_id, message_ids)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    @contextmanager
    def listen_to_circuits(self) -> Iterator[Listener]:
        """Hear that some circuit has changed, for as long as the context is open."""
        watcher = Listener(self, UUID(int=0), ())
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    async def run(self) -> None:
        """Hear hints until cancelled; reconnects with growing pauses, after which every listener looks again."""
        pause = 0.1
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(_CHANNEL, _CIRCUITS)
                    self.is_connected = True
                    self._interruptions.succeeded("hints_heard")
                    pause = 0.1
                    for listener in self._listeners | self._watchers:
                        listener.look_again()
                    await self._hear(pubsub)
            except (RedisError, OSError) as error:
                self._interruptions.failed("hints_interrupted", **fault_fields(error))
            finally:
                self.is_connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _hear(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=_IDLE_CHECK)
            if message is None:
                # An idle connection may be half open: only writing to it shows that.
                await pubsub.ping()
            elif message["channel"] == _CIRCUITS.encode():
                for watcher in self._watchers:
                    watcher.look_again()
            elif isinstance(data := message["data"], bytes):
                for start in range(0, len(data) - 31, 32):
                    change = Change(UUID(bytes=data[start : start + 16]), UUID(bytes=data[start + 16 : start + 32]))
                    for listener in self._listeners:
                        listener.hear(change)
