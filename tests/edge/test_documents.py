"""Documents by their SHA-256: registered by clients, or trusted because our frontends were built with them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from api.http import documents
from api.http.documents import PersistedQueries
from core.settings.values import digest
from tests.databases import Urls
from tests.edge.factories import UNREACHABLE_REDIS, Serving

TYPENAME = "{ __typename }"
ALIASED = "{ a: __typename }"
NOT_FOUND = {"PersistedQueryNotFound": "PERSISTED_QUERY_NOT_FOUND"}

Bearer = dict[str, str]


@pytest.fixture
async def redis(urls: Urls) -> AsyncIterator[Redis]:
    redis = Redis.from_url(urls.redis)
    await forget(redis)
    yield redis
    await forget(redis)
    await redis.aclose()


async def forget(redis: Redis) -> None:
    for key in [name async for name in redis.scan_iter("interalpha:quer*")]:
        await redis.delete(key)


@pytest.fixture
def manifest(tmp_path: Path) -> dict[str, str]:
    """The settings of a server that knows one trusted document."""
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({digest(TYPENAME): TYPENAME}))
    return {"TRUSTED_DOCUMENTS": str(file)}


def hashed(query: str, *, whole: bool = False) -> dict[str, Any]:
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest(query)}}
    return {"extensions": extensions, **({"query": query} if whole else {})}


async def ask(client: httpx.AsyncClient, body: dict[str, Any], headers: Bearer) -> Any:
    """What comes of a request: its data, or the messages and codes of its errors."""
    answer = (await client.post("/graphql", json=body, headers=headers)).json()
    return answer.get("data") or {one["message"]: one["extensions"]["code"] for one in answer["errors"]}


async def test_a_query_is_unknown_until_it_was_sent_whole(serving: Serving, redis: Redis, bearer: Bearer) -> None:
    async with serving() as one, serving() as other:
        assert await ask(one, hashed(TYPENAME), bearer) == NOT_FOUND
        assert await ask(one, hashed(TYPENAME, whole=True), bearer) == {"__typename": "Query"}
        # By every process, and for every caller.
        for client in (one, other, other):
            assert await ask(client, hashed(TYPENAME), {}) == {"__typename": "Query"}
        got = await other.get("/graphql", params={"extensions": json.dumps(hashed(TYPENAME)["extensions"])})
        assert got.json() == {"data": {"__typename": "Query"}}
        for name in (digest(TYPENAME), f"sha256:{digest(TYPENAME)}", digest(TYPENAME).upper()):
            assert await ask(other, {"documentId": name}, {}) == {"__typename": "Query"}


async def test_a_hash_of_another_query_is_refused(serving: Serving, redis: Redis, bearer: Bearer) -> None:
    async with serving() as client:
        refused = await ask(client, {**hashed(TYPENAME), "query": ALIASED}, bearer)
        assert list(refused.values()) == ["PERSISTED_QUERY_HASH_MISMATCH"]
        assert await ask(client, hashed(TYPENAME), bearer) == NOT_FOUND


async def test_anonymous_and_invalid_documents_do_not_fill_the_store(
    serving: Serving, redis: Redis, bearer: Bearer
) -> None:
    async with serving() as client:
        assert await ask(client, hashed(TYPENAME, whole=True), {}) == {"__typename": "Query"}
        assert list((await ask(client, hashed("{ nothing }", whole=True), bearer)).values()) == ["VALIDATION"]
        assert [key async for key in redis.scan_iter("interalpha:quer*")] == []
        assert await ask(client, hashed(TYPENAME), bearer) == NOT_FOUND


async def test_a_stored_document_is_used_only_if_its_hash_matches(
    serving: Serving, redis: Redis, bearer: Bearer
) -> None:
    await redis.set(f"interalpha:query:{digest(TYPENAME)}", ALIASED)
    async with serving() as client:
        assert await ask(client, hashed(TYPENAME), bearer) == NOT_FOUND


async def test_while_redis_is_away_clients_send_the_whole(serving: Serving, bearer: Bearer) -> None:
    async with serving(REDIS_URL=UNREACHABLE_REDIS) as client:
        with capture_logs() as logs:
            assert await ask(client, hashed(TYPENAME), bearer) == NOT_FOUND
            assert await ask(client, hashed(TYPENAME, whole=True), bearer) == {"__typename": "Query"}
        assert {entry["log_level"] for entry in logs} == {"warning"}
        # This process has seen it.
        assert await ask(client, hashed(TYPENAME), bearer) == {"__typename": "Query"}


async def test_the_store_keeps_so_many_queries_and_no_more(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_QUERIES", 2)
    store = PersistedQueries(redis)
    for query in ("{ a }", "{ b }"):
        await store.keep(query)
    # Asked for by a process that has not seen it, and so fresher than the other.
    assert await PersistedQueries(redis).find(digest("{ a }")) == "{ a }"
    await store.keep("{ c }")
    elsewhere = PersistedQueries(redis)
    assert [await elsewhere.find(digest(query)) for query in ("{ a }", "{ b }", "{ c }")] == ["{ a }", None, "{ c }"]
    assert len([key async for key in redis.scan_iter("interalpha:query:*")]) == 2
    await store.keep("#" * documents.LONGEST_QUERY + "\n{ d }")
    assert len([key async for key in redis.scan_iter("interalpha:query:*")]) == 2


async def test_a_query_that_contains_an_address_is_not_stored(serving: Serving, redis: Redis, bearer: Bearer) -> None:
    query = '{ node(id: "+5511987654321") { id } }'
    async with serving() as one, serving() as other:
        whole = await ask(one, hashed(query, whole=True), bearer)
        assert whole == {"node": None}
        # The process that has seen it knows it, the next asks for it once more.
        assert await ask(one, hashed(query), bearer) == whole
        assert await ask(other, hashed(query), bearer) == NOT_FOUND
    assert [key async for key in redis.scan_iter("interalpha:quer*")] == []


async def test_clients_learn_that_persisted_queries_are_off(serving: Serving, bearer: Bearer) -> None:
    async with serving(PERSISTED_QUERIES="off") as client:
        refused = await ask(client, hashed(TYPENAME), bearer)
        assert refused == {"PersistedQueryNotSupported": "PERSISTED_QUERY_NOT_SUPPORTED"}


async def test_where_trust_is_enforced_only_trusted_documents_run(
    serving: Serving, manifest: dict[str, str], bearer: Bearer
) -> None:
    async with serving(**manifest, TRUSTED_DOCUMENTS_MODE="enforce") as client:
        trusted = (
            {"documentId": digest(TYPENAME)},
            {"doc_id": digest(TYPENAME)},
            hashed(TYPENAME),
            {"query": TYPENAME},
        )
        for body in trusted:
            assert await ask(client, body, bearer) == {"__typename": "Query"}
        others = ({"query": ALIASED}, hashed(ALIASED), hashed(ALIASED, whole=True), {"documentId": digest(ALIASED)})
        for body in others:
            assert list((await ask(client, body, bearer)).values()) == ["DOCUMENT_NOT_TRUSTED"]


async def test_in_log_mode_all_documents_run_and_each_unknown_one_is_logged_once(
    serving: Serving, manifest: dict[str, str], bearer: Bearer
) -> None:
    async with serving(**manifest, TRUSTED_DOCUMENTS_MODE="log") as client:
        with capture_logs() as logs:
            for query in (TYPENAME, ALIASED, ALIASED):
                assert (
                    "__typename" in (await client.post("/graphql", json={"query": query}, headers=bearer)).text or query
                )
        assert [(entry["event"], entry["sha256"]) for entry in logs] == [("untrusted_document", digest(ALIASED))]


async def test_a_manifest_helps_where_nothing_is_enforced_too(
    serving: Serving, manifest: dict[str, str], bearer: Bearer
) -> None:
    async with serving(**manifest) as client:
        assert await ask(client, {"documentId": digest(TYPENAME)}, bearer) == {"__typename": "Query"}
        assert await ask(client, {"query": ALIASED}, bearer) == {"a": "Query"}
