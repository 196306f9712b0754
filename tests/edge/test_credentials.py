"""Credentials at the HTTP edge: which are accepted, which are not, and what an anonymous caller may do."""

import asyncio
import json
import time
from uuid import uuid4

import asyncpg
import httpx
import pytest

from api.bootstrap import App
from api.database_commands import ApiKeyAdmin
from api.http.auth import Authenticator
from api.http.exchange import is_allowed_origin
from core.access.api_key_lookup import KeyKind
from core.access.api_keys import NewKey
from core.access.sessions import DevelopmentTokens, _encode
from core.errors import NotFound
from core.ports.identity import DEFAULT_TENANT, Principal, Scope
from tests.edge.factories import READ_MESSAGES, SEND_MESSAGE, Serving, error_codes, post_query
from tests.helpers import until


async def test_a_token_of_this_server_is_accepted(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    answer = await post_query(client, SEND_MESSAGE, **bearer)
    assert answer.json() == {"data": {"sendMessage": {"message": {"status": "QUEUED"}}}}


@pytest.mark.parametrize(
    "query", [READ_MESSAGES, SEND_MESSAGE, '{ node(id: "x") { id } }', "{ integrations { name } }"]
)
async def test_without_a_token_nothing_is_read_or_done(client: httpx.AsyncClient, query: str) -> None:
    answer = await post_query(client, query)
    assert (answer.status_code, error_codes(answer)) == (200, ["UNAUTHENTICATED"])


@pytest.fixture
def bad_tokens(application: App) -> dict[str, str]:
    assert application.tokens is not None
    good = application.tokens.make()
    return {
        "forged": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        "another server's": DevelopmentTokens(b"another key").make(),
        "expired": application.tokens.make(lifetime=-1),
        "nonsense": "nonsense",
        "not ASCII": "iadev_\u00e7.\u00e7",
    }


@pytest.mark.parametrize("case", ["forged", "another server's", "expired", "nonsense", "not ASCII"])
async def test_a_token_this_server_would_not_issue_is_refused(
    client: httpx.AsyncClient, bad_tokens: dict[str, str], case: str
) -> None:
    header = f"Bearer {bad_tokens[case]}".encode("latin-1")
    answer = await client.post("/graphql", json={"query": READ_MESSAGES}, headers=[(b"authorization", header)])
    assert (answer.status_code, error_codes(answer)) == (401, ["UNAUTHENTICATED"])
    assert answer.headers["www-authenticate"] == "Bearer"


def signed(**claims: object) -> str:
    """A development token that this server signed and would not have made; a claim of None is left out."""
    tokens = DevelopmentTokens(b"k" * 32)
    usual: dict[str, object] = {"tenant": str(DEFAULT_TENANT), "sub": "dev", "iat": 0, "exp": int(time.time()) + 60}
    said = {name: value for name, value in (usual | claims).items() if value is not None}
    body = _encode(json.dumps(said).encode())
    return f"iadev_{body}.{tokens._sign(body)}"


ABSURD = [10**400, -(10**400), 1e308, float("inf"), float("nan"), True, "soon", "9" * 400, [], {}, [[[]]], 0, -1, 2**63]


async def test_a_signed_token_that_says_what_no_token_says_is_refused(client: httpx.AsyncClient) -> None:
    assert (await post_query(client, READ_MESSAGES, authorization=f"Bearer {signed()}")).status_code == 200
    year_9999, in_two_months = 253_402_300_799, int(time.time()) + 60 * 86_400
    forged = [
        *(signed(exp=value) for value in (*ABSURD, None, year_9999, in_two_months)),
        *(signed(iat=value) for value in ABSURD if value != 0),
        *(signed(sub=value) for value in (*ABSURD, None, "", "x" * 1_000, "\ud800", "a\0b", "a\nb") if value != "soon"),
        *(signed(tenant=value) for value in (*ABSURD, None, "", "default", str(DEFAULT_TENANT)[:-1], "x" * 1_000)),
    ]
    for token in forged:
        answer = await post_query(client, READ_MESSAGES, authorization=f"Bearer {token}")
        assert (answer.status_code, error_codes(answer)) == (401, ["UNAUTHENTICATED"]), token


async def test_credentials_of_a_tenant_that_is_not_there_are_refused(
    client: httpx.AsyncClient, application: App, owner: asyncpg.Pool
) -> None:
    """A tenant that never was, and one that was deleted: by token and by key."""
    gone = uuid4()
    await owner.execute(
        "INSERT INTO tenants (id, slug, name, time_zone, default_currency) VALUES ($1, 'gone', 'Gone', 'UTC', 'BRL')",
        gone,
    )
    tokens = DevelopmentTokens(b"k" * 32)
    key_admin = ApiKeyAdmin(application.settings.database_url.get_secret_value(), application.sealer, gone)  # type: ignore[union-attr]
    _, key = await asyncio.to_thread(key_admin.create, NewKey("a server", KeyKind.LIVE, frozenset(Scope)))
    authenticator = Authenticator(application)
    callers = [await authenticator.authenticate(one) for one in (tokens.make(tenant=gone), key)]
    assert [await authenticator.is_valid(one) for one in callers] == [True, True]
    await owner.execute("UPDATE tenants SET deleted_at = now() WHERE id = $1", gone)
    # What they have open ends, as soon as what was looked up is no longer remembered.
    await until(lambda: are_valid(authenticator, callers), lambda found: found == [False, False], 5)
    for token in (tokens.make(tenant=uuid4()), tokens.make(tenant=gone), key):
        answer = await post_query(client, READ_MESSAGES, authorization=f"Bearer {token}")
        assert (answer.status_code, error_codes(answer)) == (401, ["UNAUTHENTICATED"])
    with pytest.raises(NotFound):
        await asyncio.to_thread(key_admin.read)


async def are_valid(authenticator: Authenticator, callers: list[Principal | None]) -> list[bool]:
    return [await authenticator.is_valid(one) for one in callers]


async def test_other_kinds_of_credentials_are_refused(client: httpx.AsyncClient) -> None:
    answer = await post_query(client, READ_MESSAGES, authorization="Basic YW5hOmFuYQ==")
    assert (answer.status_code, error_codes(answer)) == (401, ["UNAUTHENTICATED"])


async def test_development_tokens_end_where_production_begins(serving: Serving, bearer: dict[str, str]) -> None:
    async with serving(APP_ENV="production") as client:
        answer = await post_query(client, READ_MESSAGES, **bearer)
        assert (answer.status_code, error_codes(answer)) == (401, ["UNAUTHENTICATED"])
        hidden = await post_query(client, "{ __schema { types { name } } }")
        assert error_codes(hidden) == ["VALIDATION"]


# ─── pages ──────────────────────────────────────────────────────────────────

EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}


async def test_no_page_of_another_site_does_anything_in_any_form_of_request(
    client: httpx.AsyncClient, bearer: dict[str, str], owner: asyncpg.Pool
) -> None:
    """Not with a token either, which no page can have a browser send: forms, plain text, GET, JSON."""
    before = await owner.fetchval("SELECT count(*) FROM messages")
    body, form = json.dumps({"query": SEND_MESSAGE}), {"query": SEND_MESSAGE}
    kinds = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
    for headers in (EVIL, {"origin": "null"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answers = [
            await client.post("/graphql", content=body, headers={**bearer, **headers, "content-type": kind})
            for kind in (*kinds, "application/json")
        ]
        answers.append(await client.post("/graphql", data=form, headers={**bearer, **headers}))
        answers.append(await client.get("/graphql", params=form, headers={**bearer, **headers}))
        assert {one.status_code for one in answers} == {403}, headers
        # Neither a webhook nor the page that explains errors believes a page, or changes anything for one.
        assert (await client.post("/webhooks/twilio", data=form, headers=headers)).status_code == 401
        assert (await client.post("/docs/errors", data=form, headers=headers)).status_code == 405
    # What an HTML form can send is always refused, and so is a mutation in a URL.
    for kind in kinds:
        answer = await client.post("/graphql", content=body, headers={**bearer, "content-type": kind})
        assert answer.status_code == 415
    assert (await client.get("/graphql", params=form, headers=bearer)).status_code == 405
    assert await owner.fetchval("SELECT count(*) FROM messages") == before


def test_on_a_machine_of_ones_own_no_other_name_leads_here() -> None:
    local, ours = frozenset({"http://127.0.0.1:8000", "http://localhost:3000"}), frozenset({"https://api.example.com"})

    def welcome(host: str | None, allowed: frozenset[str] = local, origin: str | None = None) -> bool:
        same = f"http://{host}" if origin is None else origin
        return is_allowed_origin(origin=same, host=host, fetch_site="same-origin", allowed_origins=allowed)

    for host in ("127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.0.0.1", "LOCALHOST:1"):
        assert welcome(host), host
    for host in (
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8000",
        "",
        None,
        "10.0.0.7:8000",
    ):
        assert not welcome(host), host
        # Programs say nothing of pages, and may use any name.
        assert is_allowed_origin(origin=None, host=host, fetch_site=None, allowed_origins=local)
        # Elsewhere the name is a proxy's business.
        assert welcome(host, ours)
