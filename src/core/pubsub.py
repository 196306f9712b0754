"""Hints between processes: "this object changed". PostgreSQL holds the data; a lost hint only delays its reader.

One Redis subscription per process wakes the listeners of an object. A listener keeps no queue: once woken, its reader
reads the changes from the database. After Redis was away all listeners are woken.
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
from core.ports.sending import MESSAGE
from core.settings.redis_url import read_redis_url
from core.store_faults import fault_fields

# Messages that changed: 32 bytes each, as earlier versions understand them.
_CHANNEL = "interalpha:changes"
# Objects of other kinds: the length of the kind in one byte, the kind, and 32 bytes.
_CHANNEL_OF_KINDS = "interalpha:changes:kinds"
# `core/providers/scripts.py` publishes on it when a circuit's state changes.
_CIRCUITS = "interalpha:circuits"
_PUBLISH_LIMIT = 0.5
_TIMEOUT_CONNECTED = 15.0
_TIMEOUT_ALONE = 1.0
_IDLE_CHECK = 5.0
_READERS = 3


class _TlsConnection(SSLConnection):
    """A connection with the TLS context that was made from the URL."""

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
        # Callers decide whether to try again.
        "retry": Retry(NoBackoff(), 0),
        # Else the client would send CLIENT SETINFO, for which few users have the right.
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
    """An object that changed; `kind` is its kind as a subject, a message's where none is given."""

    tenant_id: UUID
    id: UUID
    kind: str = MESSAGE


class Listener:
    """Waits for changes of a tenant's objects of one kind: those named, or all of them."""

    def __init__(self, hub: "Hub", tenant_id: UUID, ids: Collection[UUID] | None, kind: str = MESSAGE) -> None:
        self._hub = hub
        self._tenant_id = tenant_id
        self._kind = kind
        self._ids = None if ids is None else frozenset(ids)
        self._changed = asyncio.Event()

    def select(self, ids: Collection[UUID] | None) -> None:
        """Wait for changes of these objects from now on; None for all."""
        self._ids = None if ids is None else frozenset(ids)

    def notify(self, change: Change) -> None:
        is_wanted = self._ids is None or change.id in self._ids
        if is_wanted and change.tenant_id == self._tenant_id and change.kind == self._kind:
            self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    async def wait(self) -> None:
        """Return when something may have changed: on a hint, or after a time-out, a short one while Redis is away."""
        longest = _TIMEOUT_CONNECTED if self._hub.is_connected else _TIMEOUT_ALONE
        try:
            async with asyncio.timeout(longest):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()


class Hub:
    """Publishes hints, and receives those of all processes while `run` is running."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._listeners: set[Listener] = set()
        self._watchers: set[Listener] = set()
        self.is_connected = False
        self._troubles, self._interruptions = ThrottledLog(), ThrottledLog()
        # Connections that subscribers may use at once: sending must not wait for them.
        self.reading = asyncio.Semaphore(_READERS)

    async def publish(self, changes: Iterable[Change]) -> None:
        """Publish to all processes; a failure is only logged, since listeners also wake without hints."""
        unique = list(dict.fromkeys(changes))
        payloads = {
            _CHANNEL: b"".join(one.tenant_id.bytes + one.id.bytes for one in unique if one.kind == MESSAGE),
            _CHANNEL_OF_KINDS: b"".join(_encode(one) for one in unique if one.kind != MESSAGE),
        }
        try:
            async with asyncio.timeout(_PUBLISH_LIMIT):
                for channel, payload in payloads.items():
                    if payload:
                        await self._redis.publish(channel, payload)
        except (RedisError, OSError, TimeoutError) as error:
            self._troubles.failed("hint_not_published", **fault_fields(error))
        else:
            self._troubles.succeeded("hints_published")

    @contextmanager
    def listen(self, tenant_id: UUID, ids: Collection[UUID] | None = None, kind: str = MESSAGE) -> Iterator[Listener]:
        """Listen to a tenant's objects of one kind while the context is open."""
        listener = Listener(self, tenant_id, ids, kind)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    @contextmanager
    def listen_to_circuits(self) -> Iterator[Listener]:
        """Listen to changes of any circuit while the context is open."""
        watcher = Listener(self, UUID(int=0), ())
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    async def run(self) -> None:
        """Receive hints until canceled; reconnects with growing pauses, and then wakes all listeners."""
        pause = 0.1
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(_CHANNEL, _CHANNEL_OF_KINDS, _CIRCUITS)
                    self.is_connected = True
                    self._interruptions.succeeded("hints_heard")
                    pause = 0.1
                    for listener in self._listeners | self._watchers:
                        listener.wake()
                    await self._receive(pubsub)
            except (RedisError, OSError) as error:
                self._interruptions.failed("hints_interrupted", **fault_fields(error))
            finally:
                self.is_connected = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _receive(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=_IDLE_CHECK)
            if message is None:
                # An idle connection may be half open: only writing to it shows that.
                await pubsub.ping()
            elif message["channel"] == _CIRCUITS.encode():
                for watcher in self._watchers:
                    watcher.wake()
            elif isinstance(data := message["data"], bytes):
                has_kinds = message["channel"] == _CHANNEL_OF_KINDS.encode()
                for change in _decode_kinds(data) if has_kinds else _decode_messages(data):
                    for listener in self._listeners:
                        listener.notify(change)


def _encode(change: Change) -> bytes:
    kind = change.kind.encode()
    return bytes([len(kind)]) + kind + change.tenant_id.bytes + change.id.bytes


def _decode_messages(data: bytes) -> Iterator[Change]:
    for start in range(0, len(data) - 31, 32):
        yield Change(UUID(bytes=data[start : start + 16]), UUID(bytes=data[start + 16 : start + 32]))


def _decode_kinds(data: bytes) -> Iterator[Change]:
    start = 0
    while start < len(data):
        begin = start + 1 + data[start]
        if len(data) < begin + 32:
            return
        kind = data[start + 1 : begin].decode(errors="replace")
        yield Change(UUID(bytes=data[begin : begin + 16]), UUID(bytes=data[begin + 16 : begin + 32]), kind)
        start = begin + 32
