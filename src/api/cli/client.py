"""Calling the API from the command line: the address, the credentials, GraphQL over HTTP and SSE."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, TypeVar
from uuid import UUID

import httpx
import rich_click as click

from api.cli.environment import core_settings, dev_environment, own_environment, port_from
from api.cli.terminal import Exit, Failure
from core.access.api_key_lookup import parse_key
from core.settings import WrongValue
from core.settings.addresses import LOOPBACK, check_web_address, is_loopback
from core.settings.loading import read_secret

# The server says something at least every 15 seconds while a stream is open.
_TIMEOUT = httpx.Timeout(10, read=40)


_WITHOUT_HEADER = 5
"""Seconds to wait where the server does not say for how long."""
_LEFT_OUT = "VALUE_UNREADABLE"
"""The code where a field is null because the server lacks the key that sealed it; the rest of the answer holds."""
_UNKNOWN_INPUT = "is not defined by type"
"""What GraphQL says of a field of an input that the server does not have."""


class NotSignedFor(Failure):
    """The server does not know the key that the token was signed with."""


class NotAllowed(Failure):
    """The caller lacks a scope for this."""


class Rejected(Failure):
    """The server will never do this: an argument is wrong, or it knows no such thing."""


class CursorExpired(Failure):
    """What came after a cursor is not told any more."""


class OutOfPoints(Failure):
    """The caller has asked for all that it may in a minute; after `seconds` it may ask again."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


class Api:
    """A server's GraphQL endpoint, and the token to call it with. Everything raises Failure."""

    def __init__(self, http: httpx.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def ask(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the data of a query or mutation."""
        try:
            answer = await self._http.post(self._url, json={"query": query, "variables": variables})
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from None
        return _data(answer)

    async def follow(
        self, query: str, variables: Mapping[str, Any], *, opened: Callable[[], None] = lambda: None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the data of each event of a subscription, until the server ends it; `opened` is told of its begin."""
        body, headers = {"query": query, "variables": variables}, {"accept": "text/event-stream"}
        try:
            async with self._http.stream("POST", self._url, json=body, headers=headers) as answer:
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    await answer.aread()
                    _data(answer)
                    raise Failure(f"{self._url} answers without a stream of events. Is --url Interalpha's?")
                opened()
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        yield _data(answer, line.removeprefix("data: ").encode())
        except httpx.HTTPError as error:
            raise _unreachable(self._url, error) from None


@asynccontextmanager
async def connect(address: str, token: str) -> AsyncIterator[Api]:
    """Open a client for the server at an address such as http://localhost:8000."""
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    # A proxy of the environment leads elsewhere; what is on this machine needs none.
    async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT, trust_env=not is_loopback(address)) as http:
        yield Api(http, f"{address.rstrip('/')}/graphql")


def _data(answer: httpx.Response, event: bytes | None = None) -> dict[str, Any]:
    """Read the data of an answer, or of one event of a stream; raises Failure with the server's words."""
    status = answer.status_code
    try:
        told = json.loads(answer.content if event is None else event)
        errors, data = told.get("errors"), told.get("data")
        codes = {str(_extensions(error).get("code")) for error in errors or ()}
        if isinstance(data, dict) and codes == {_LEFT_OUT}:
            return data
    except (ValueError, AttributeError, TypeError):
        raise Failure(f"The server answers with status {status} and no GraphQL. Is --url Interalpha's?") from None
    if "UNAUTHENTICATED" in codes:
        raise NotSignedFor(_words(errors[0]))
    if "QUOTA_EXCEEDED" in codes:
        raise OutOfPoints(_words(errors[0]), _seconds(answer.headers.get("retry-after")))
    if errors and (codes == {"VALIDATION"} or any(_UNKNOWN_INPUT in str(error.get("message")) for error in errors)):
        raise Rejected(
            f"The server does not know this request: its version differs from this command line's,"
            f" {version('interalpha')}. It says: {errors[0].get('message')}"
        )
    if errors:
        kind = next((_KINDS[code] for code in codes if code in _KINDS), Failure)
        raise kind("\n  ".join(_words(error) for error in errors))
    if not isinstance(data, dict):
        raise Failure(f"The server answers with status {status} and no data. Is --url Interalpha's?")
    return data


_KINDS: Mapping[str, type[Failure]] = {
    "FORBIDDEN": NotAllowed,
    "CURSOR_EXPIRED": CursorExpired,
    "INVALID_INPUT": Rejected,
    "NOT_FOUND": Rejected,
    "VARIABLES": Rejected,
}


def _words(error: Mapping[str, Any]) -> str:
    """Say an error: what happened, its code, and what to do where the server knows that."""
    more = _extensions(error)
    return f"{error.get('message')} ({more.get('code', 'no code')}) {more.get('advice') or ''}".rstrip()


def _extensions(error: Mapping[str, Any]) -> Mapping[str, Any]:
    return error.get("extensions") or {}


def _seconds(header: str | None) -> int:
    return int(header) if header is not None and header.isascii() and header.isdigit() else _WITHOUT_HEADER


def _unreachable(url: str, error: httpx.HTTPError) -> Failure:
    if isinstance(error, httpx.ConnectError):
        return Failure(
            f"Nothing answers at {url}. Start the server with `make dev`, or give another address with --url."
        )
    what = "does not answer in time" if isinstance(error, httpx.TimeoutException) else "breaks the connection off"
    return Failure(f"{url} {what} ({type(error).__name__}). Look into its log, and try again.")


# Credentials of commands: a given API key, or a development token made for the call.
#
# A key comes from the environment or from a file, never from an argument: those stand in process lists and histories.


API_KEY = "INTERALPHA_API_KEY"


def given_key(environment: Mapping[str, str]) -> str | None:
    """Read the API key commands are to call with; None where there is none. Raises Failure, which never shows it."""
    try:
        key = read_secret(API_KEY, environment)
    except WrongValue as error:
        raise Failure(f"{API_KEY}_FILE {error}.", Exit.NOT_CONFIGURED) from None
    if key is not None and parse_key(key) is None:
        raise Failure(
            f"{API_KEY} holds no whole API key: copy it once more, or make one with `interalpha api-keys create`.",
            Exit.NOT_CONFIGURED,
        )
    return key


def development_token(environment: Mapping[str, str], tenant: UUID | None = None, *, for_cli: bool = False) -> str:
    """Make a token for a tenant, the default one unless named; raises Failure in production and without keys.

    It is made from the installation's own key: a person who can read that key needs no other credentials. With
    `for_cli` the audit log names the command line as the actor.
    """
    settings = core_settings(environment)
    if settings.is_production:
        raise Failure(
            "Development tokens end where production begins: make a key with `interalpha api-keys create` and set "
            f"{API_KEY} or {API_KEY}_FILE for the commands that call the API. "
            "Unset APP_ENV to work on a development server."
        )
    if not settings.encryption_keys:
        raise Failure(
            f"No data in {settings.home.absolute()}. Run this where `make dev` runs, or set INTERALPHA_HOME. "
            f"To call another server, set {API_KEY} and give --url.",
            Exit.NOT_CONFIGURED,
        )
    # Here, because it brings SQLAlchemy, and help and refusals should not wait for that.
    from core.access.sessions import CLI, DevelopmentTokens
    from core.ports.identity import DEFAULT_TENANT

    secret = next(iter(settings.sealing_keys.values()))
    tokens = DevelopmentTokens(secret, lifetime=settings.development_token_seconds)
    return tokens.make(tenant=tenant or DEFAULT_TENANT, subject=CLI if for_cli else "dev")


# Shared by commands that call the API: address, credentials, and how answers are printed.


Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])

url_option = click.option(
    "--url",
    metavar="ADDRESS",
    help="The server, as https://host (default: the one on this machine). Another server is called with the API key"
    f" in {API_KEY}; `interalpha --help` says more.",
)
_PAGE = 100
_MOST_WAITS = 10


def call(url: str | None, work: Callable[[Api], Awaitable[Result]]) -> Result:
    """Do something with the API in an event loop of its own; raises Failure."""
    environment = dev_environment()
    try:
        address = check_web_address(url or f"http://{LOOPBACK}:{port_from(environment, None)}")
    except WrongValue as error:
        raise Failure(f"--url {error}", Exit.USAGE) from None
    key = given_key(environment)
    token = key or development_token(environment, for_cli=True)

    async def connected() -> Result:
        async with connect(address, token) as api:
            return await work(api)

    try:
        return asyncio.run(connected())
    except NotSignedFor as error:
        raise Failure(_other_keys(environment, address) if key is None else _not_believed(address, error)) from None


def _not_believed(address: str, error: NotSignedFor) -> str:
    return f"{address} does not let the key in {API_KEY} in: {error}"


def _other_keys(environment: Mapping[str, str], address: str) -> str:
    if "ENCRYPTION_KEYS" in own_environment():
        return f"Signed with ENCRYPTION_KEYS as it is set here; the server at {address} keeps others. Set its own."
    return (
        f"Signed with the keys of {core_settings(environment).home}; the server at {address} keeps others. "
        "Run with INTERALPHA_HOME=<its folder>."
    )


async def pages(
    api: Api, query: str, variables: Mapping[str, Any], field: str, limit: int | None
) -> AsyncIterator[dict[str, Any]]:
    """Yield the pages of a list until `limit` items were read or it ends; `query` takes `first` and `after`.

    Waits where the caller may not ask for more at the moment.
    """
    after, left = variables.get("after"), limit
    while True:
        first = _PAGE if left is None else min(_PAGE, left)
        page = (await ask_with_waits(api, query, {**variables, "first": first, "after": after}))[field]
        yield page
        left = None if left is None else left - first
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"] or left == 0:
            return


def listed(
    url: str | None, query: str, variables: Mapping[str, Any], field: str, limit: int | None
) -> tuple[list[dict[str, Any]], bool]:
    """Return the items of a list, and whether there are more; raises Failure."""

    async def work(api: Api) -> tuple[list[dict[str, Any]], bool]:
        nodes: list[dict[str, Any]] = []
        has_more = False
        async for page in pages(api, query, variables, field, limit):
            nodes += page["nodes"]
            has_more = page["pageInfo"]["hasNextPage"]
        return nodes, has_more

    return call(url, work)


async def ask_with_waits(api: Api, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Ask, and ask again when the server says that there are points for it; raises Failure."""
    for _ in range(_MOST_WAITS):
        try:
            return await api.ask(query, variables)
        except OutOfPoints as error:
            click.echo(f"! {error} Going on in {error.seconds} s.", err=True)
            await asyncio.sleep(error.seconds)
    return await api.ask(query, variables)


def limit_options(command: Command) -> Command:
    """Let a command take how many items are listed: --limit, or --all."""
    for option in (
        click.option("--all", "is_all", is_flag=True, help="All of them."),
        click.option(
            "--limit",
            type=click.IntRange(min=1),
            metavar="N",
            default=25,
            show_default=True,
            help="How many to list, newest first.",
        ),
    ):
        command = option(command)
    return command
