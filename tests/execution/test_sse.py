"""GraphQL over Server-Sent Events, with a real server."""

import time
from contextlib import AsyncExitStack

import httpx
import pytest

from api.http import sse
from tests.execution.sample import Journal
from tests.execution.servers import tasks_of, wait_until

EVENTS = {"accept": "text/event-stream"}


async def test_a_subscription_is_a_stream_of_events(client: httpx.AsyncClient) -> None:
    for response in (
        await client.post("/graphql", json={"query": "subscription { count(to: 2) }"}, headers=EVENTS),
        await client.get("/graphql", params={"query": "subscription { count(to: 2) }"}, headers=EVENTS),
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["x-request-id"]
        assert response.text == (
            ":\n\n"
            'event: next\ndata: {"data":{"count":1}}\n\n'
            'event: next\ndata: {"data":{"count":2}}\n\n'
            "event: complete\ndata:\n\n"
        )
    assert tasks_of(sse) == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("{ hello }", '"data":{"hello":"Hello, you!"}'),
        ('mutation { rename(name: "Ada") }', '"data":{"rename":"Ada"}'),
        ("{ nothing }", '"code":"VALIDATION"'),
        ("subscription { nothing", '"code":"SYNTAX"'),
    ],
)
async def test_any_operation_may_be_streamed(client: httpx.AsyncClient, query: str, said: str) -> None:
    response = await client.post("/graphql", json={"query": query}, headers=EVENTS)
    assert response.status_code == 200
    assert response.text.startswith(":\n\nevent: next\ndata: {")
    assert said in response.text
    assert response.text.endswith("event: complete\ndata:\n\n")


async def test_a_request_that_makes_no_sense_is_not_a_stream(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", json=[], headers=EVENTS)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json; charset=utf-8"


async def test_a_client_that_leaves_closes_the_subscription(client: httpx.AsyncClient, journal: Journal) -> None:
    query = {"query": "subscription { watch }"}
    async with client.stream("POST", "/graphql", json=query, headers=EVENTS) as response:
        lines = response.aiter_lines()
        assert [await anext(lines) for _ in range(4)][2:] == ["event: next", 'data: {"data":{"watch":1}}']
        assert (journal.opened, journal.closed) == (1, 0)
        assert tasks_of(sse) != []
    await wait_until(lambda: journal.closed == 1)
    await wait_until(lambda: tasks_of(sse) == [])


async def test_a_quiet_stream_has_a_heartbeat(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.01)
    query = {"query": "subscription { watch }"}
    async with client.stream("POST", "/graphql", json=query, headers=EVENTS) as response:
        comments = 0
        async for line in response.aiter_lines():
            comments += line == ":"
            if comments == 3:
                break
    assert comments == 3
    await wait_until(lambda: tasks_of(sse) == [])


async def test_a_stream_ends_with_its_token_and_without_a_farewell(client: httpx.AsyncClient, journal: Journal) -> None:
    journal.expiries["ada"] = time.time() + 0.1
    headers = {**EVENTS, "authorization": "Bearer ada"}
    response = await client.post("/graphql", json={"query": "subscription { watch }"}, headers=headers)
    assert response.text == ':\n\nevent: next\ndata: {"data":{"watch":1}}\n\n'
    await wait_until(lambda: journal.closed == 1)
    assert tasks_of(sse) == []


async def test_a_caller_has_so_many_streams_and_no_more(client: httpx.AsyncClient, journal: Journal) -> None:
    query = {"query": "subscription { watch }"}
    async with AsyncExitStack() as open_streams:
        for _ in range(3):
            await open_streams.enter_async_context(client.stream("POST", "/graphql", json=query, headers=EVENTS))
        refused = await client.post("/graphql", json=query, headers=EVENTS)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert refused.json()["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
    await wait_until(lambda: tasks_of(sse) == [])
    assert journal.opened == journal.closed == 3


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/event-stream", "text/event-stream"),
        ("text/event-stream, */*;q=0.1", "text/event-stream"),
        ("text/event-stream;q=0.9, application/json", "application/json"),
        ("application/json, text/event-stream", "application/json"),
        ("*/*", "application/json"),
    ],
)
async def test_a_stream_is_chosen_only_when_it_ranks_first(
    client: httpx.AsyncClient, accept: str, content_type: str
) -> None:
    response = await client.post("/graphql", json={"query": "{ hello }"}, headers={"accept": accept})
    assert response.headers["content-type"] == f"{content_type}; charset=utf-8"


async def test_a_stream_ends_when_its_credentials_are_no_longer_valid(
    client: httpx.AsyncClient, journal: Journal
) -> None:
    query, bobs = {"query": "subscription { watch }"}, {**EVENTS, "authorization": "Bearer bob"}
    async with client.stream("POST", "/graphql", json=query, headers=bobs) as response:
        lines = response.aiter_lines()
        assert [await anext(lines) for _ in range(4)][2] == "event: next"
        journal.refused.set()
        assert "event: complete" not in [line async for line in lines]
    await wait_until(lambda: journal.closed == 1)
    await wait_until(lambda: tasks_of(sse) == [])
