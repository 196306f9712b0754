"""Both stores together: started side by side, given as URLs, stopped in order."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from devkit.embedded.folder import EmbeddedStoreError, FolderLock, erase_passwords, read_passwords
from devkit.embedded.postgres import Postgres
from devkit.embedded.valkey import Valkey

START_SECONDS = 60.0  # long enough to recover from a crash
_REMEDY = "Mend that, give another folder with --data, or set DATABASE_URL and REDIS_URL to servers elsewhere"


@dataclass(frozen=True, slots=True)
class StoreUrls:
    """Where the stores are, and their versions; "" for a store that is not ours. The addresses hold passwords.

    `valkey_version` begins with the server's name: `Valkey 9.1.2`, or `Redis 7.0.15` where that was installed.
    """

    app: str = field(repr=False)
    worker: str = field(repr=False)
    direct: str = field(repr=False)
    redis: str = field(repr=False)
    postgres_version: str
    valkey_version: str


class Stores:
    """PostgreSQL and Valkey with their data in one folder, which they hold from start to stop.

    `durable=False` trades what a crash would lose for speed; `postgres` and `redis` say which of the two are wanted.
    Start them from the main thread: they end when the thread that started them does.
    """

    def __init__(self, folder: Path, *, durable: bool = True, postgres: bool = True, redis: bool = True) -> None:
        self._folder = folder.resolve()
        self._lock = FolderLock(self._folder)
        self._postgres = Postgres(self._folder, durable=durable)
        self._valkey = Valkey(self._folder, durable=durable)
        self._wants_postgres = postgres
        self._wants_valkey = redis
        self._urls: StoreUrls | None = None

    async def __aenter__(self) -> StoreUrls:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def superuser_url(self) -> str:
        """The address of PostgreSQL for its superuser, once started: for tests that make databases of their own."""
        return self._postgres.url("postgres", database="postgres")

    async def start(self) -> StoreUrls:
        """Start what is wanted, side by side, or adopt what an earlier run left behind.

        Raises EmbeddedStoreError: FolderInUse when another process holds the folder, NotOurs when it is another's.
        """
        if self._urls is not None:
            return self._urls
        try:
            self._lock.take()
            self._urls = await self._start_wanted()
        except TimeoutError:
            raise EmbeddedStoreError(
                f"The stores in {self._folder} did not answer within {START_SECONDS:.0f} s. See the logs there"
            ) from None
        except OSError as error:
            words = f"{error.filename or self._folder}: {error.strerror or error}"
            raise EmbeddedStoreError(f"The stores cannot start. {words}. {_REMEDY}") from error
        finally:
            if self._urls is None:
                await self.stop()
        return self._urls

    async def stop(self) -> None:
        """Stop Valkey, then PostgreSQL, and let the folder go."""
        self._urls = None
        async with AsyncExitStack() as in_order:
            in_order.callback(self._lock.release)
            in_order.push_async_callback(self._postgres.stop)
            in_order.push_async_callback(self._valkey.stop)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder without starting anything; raises FolderInUse while they run, and NotOurs."""
        if self._lock.is_held:
            yield
            return
        self._lock.take_again()
        try:
            yield
        finally:
            self._lock.release()

    async def erase(self) -> None:
        """Remove everything the stores keep in the folder, and nothing else; raises FolderInUse and NotOurs."""
        with self.held():
            await self._valkey.erase()
            await self._postgres.erase()
            erase_passwords(self._folder)

    async def _start_wanted(self) -> StoreUrls:
        passwords = read_passwords(self._folder)
        try:
            async with asyncio.timeout(START_SECONDS), asyncio.TaskGroup() as starts:
                postgres = starts.create_task(self._postgres.start(passwords)) if self._wants_postgres else None
                valkey = starts.create_task(self._valkey.start(passwords)) if self._wants_valkey else None
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return StoreUrls(
            app=self._postgres.url("interalpha_app") if postgres else "",
            worker=self._postgres.url("interalpha_worker") if postgres else "",
            direct=self._postgres.url("interalpha_migrate") if postgres else "",
            redis=self._valkey.url() if valkey else "",
            postgres_version=postgres.result() if postgres else "",
            valkey_version=valkey.result() if valkey else "",
        )
