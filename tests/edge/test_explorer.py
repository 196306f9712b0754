"""The Explorer's files and its token: which caller gets which, under what policy, and the page before it is built."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from api.bootstrap import App
from api.http.explorer import explorer_routes
from tests.apps import build_application
from tests.databases import ENCRYPTION_KEY, Urls
from tests.edge.factories import Serving

PRODUCTION = {
    "APP_ENV": "production",
    "PUBLIC_BASE_URL": "https://api.example.com",
    "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
}
OURS = {"host": "localhost:8000", "sec-fetch-site": "same-origin"}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A page as the build leaves it, in small."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "main-Ab1.js").write_text("1")
    (tmp_path / "secret.txt").write_text("not for serving")
    return tmp_path


@asynccontextmanager
async def browsing(application: App, built: Path, peer: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar([*explorer_routes(application, built)], openapi_config=None)
    transport = httpx.ASGITransport(app, client=(peer, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        yield client


async def test_before_it_is_built_a_page_says_so_and_looks_again(application: App, built: Path) -> None:
    async with browsing(application, built) as client:
        waiting = await client.get("/graphiql/")
        (built / "index.html").write_text("<p>here</p>")
        there = await client.get("/graphiql/")
    assert waiting.status_code == 503
    assert waiting.headers["cache-control"] == "no-store"
    assert 'http-equiv="refresh"' in waiting.text
    assert "make web" in waiting.text
    assert "<script" not in waiting.text
    assert (there.status_code, there.text) == (200, "<p>here</p>")


async def test_every_answer_has_the_policy_and_its_cache_duration(application: App, built: Path) -> None:
    (built / "index.html").write_text("<p>here</p>")
    paths = {
        "/graphiql/": "no-cache",
        "/graphiql/assets/main-Ab1.js": "public, max-age=31536000, immutable",
        "/graphiql/config.json": "no-store",
    }
    async with browsing(application, built) as client:
        for path, caching in paths.items():
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == caching
            assert "default-src 'none'; script-src 'self';" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert (await _type_of(application, built, "/graphiql/assets/main-Ab1.js")).startswith("text/javascript")


async def _type_of(application: App, built: Path, path: str) -> str:
    async with browsing(application, built) as client:
        return (await client.get(path)).headers["content-type"]


@pytest.mark.parametrize("path", ["assets/..", "assets/..%2Fsecret.txt", "assets/gone-1.js", "secret.txt", "assets/."])
async def test_nothing_but_the_page_is_served(application: App, built: Path, path: str) -> None:
    async with browsing(application, built) as client:
        answer = await client.get(httpx.URL("http://localhost:8000/graphiql/", raw_path=f"/graphiql/{path}".encode()))
    assert answer.status_code != 200
    assert "not for serving" not in answer.text


async def test_the_ways_that_lead_there(application: App, built: Path) -> None:
    async with browsing(application, built) as client:
        for path in ("/", "/graphiql"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (307, "graphiql/")


async def test_the_page_is_given_a_token_the_api_accepts(client: httpx.AsyncClient) -> None:
    given = (await client.get("/graphiql/config.json", headers=OURS)).json()
    asked = {"query": "{ integrations { kind } }"}
    answer = await client.post("/graphql", json=asked, headers={"authorization": f"Bearer {given['token']}"})
    assert answer.json()["data"]["integrations"]


@pytest.mark.parametrize(
    "stranger",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": ""},
        {"host": "evil.example:8000"},
        {"host": "10.0.0.7:8000"},
        {"host": "localhost.evil.example"},
        {"x-forwarded-for": "203.0.113.7"},
        {"x-forwarded-host": "tunnel.example"},
        {"forwarded": "for=203.0.113.7"},
    ],
)
async def test_no_other_page_gets_one(application: App, built: Path, stranger: dict[str, str]) -> None:
    async with browsing(application, built) as client:
        answer = await client.get("/graphiql/config.json", headers=OURS | stranger)
    assert answer.json() == {"token": None}


async def test_another_machine_is_given_none(application: App, built: Path) -> None:
    async with browsing(application, built, peer="192.168.0.9") as client:
        answer = await client.get("/graphiql/config.json", headers=OURS)
    assert answer.json() == {"token": None}


async def test_in_production_it_is_off(serving: Serving) -> None:
    async with serving(**PRODUCTION) as client:
        for path in ("/", "/graphiql/", "/graphiql/config.json"):
            assert (await client.get(path, headers=OURS)).status_code == 404


async def test_in_production_it_can_be_on_and_carries_no_token(edge_urls: Urls, built: Path) -> None:
    application = build_application(edge_urls, **PRODUCTION, EXPLORER="on")
    try:
        async with browsing(application, built) as client:
            assert (await client.get("/graphiql/config.json", headers=OURS)).json() == {"token": None}
            assert (await client.get("/graphiql/")).status_code == 503
            assert (await client.get("/")).status_code == 404
    finally:
        await application.close()


async def test_in_production_anonymous_callers_cannot_read_the_schema_even_when_it_is_on(serving: Serving) -> None:
    async with serving(**PRODUCTION, EXPLORER="on") as client:
        answer = await client.post("/graphql", json={"query": "{ __schema { queryType { name } } }"})
    assert "queryType" not in json.dumps(answer.json().get("data"))
    assert answer.json()["errors"]


async def test_in_development_it_can_be_off(serving: Serving) -> None:
    async with serving(EXPLORER="off") as client:
        assert (await client.get("/graphiql/")).status_code == 404
