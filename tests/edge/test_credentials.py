"""Credentials at the door of the real application: whom it knows, whom it does not, and what a stranger may do."""

from typing import Any

import httpx
import pytest

from api.bootstrap import House
from core.access.tokens import DevelopmentTokens
from tests.edge.conftest import Serving

READ = "{ messages(first: 1) { pageInfo { hasNextPage } } }"
SEND = """mutation { sendMessage(input: {
  to: {phone: "+5511987654321"}, content: {text: "Oi"}, route: [{channel: SMS}]
}) { message { status } } }"""


async def ask(client: httpx.AsyncClient, query: str, **headers: str) -> httpx.Response:
    return await client.post("/graphql", json={"query": query}, headers=headers)


def codes(answer: httpx.Response) -> list[str]:
    errors: list[dict[str, Any]] = answer.json()["errors"]
    return [error["extensions"]["code"] for error in errors]


async def test_a_token_of_this_server_is_believed(client: httpx.AsyncClient, bearer: dict[str, str]) -> None:
    answer = await ask(client, SEND, **bearer)
    assert answer.json() == {"data": {"sendMessage": {"message": {"status": "QUEUED"}}}}


@pytest.mark.parametrize("query", [READ, SEND, '{ node(id: "x") { id } }', "{ integrations { name } }"])
async def test_without_a_token_nothing_is_read_or_done(client: httpx.AsyncClient, query: str) -> None:
    answer = await ask(client, query)
    assert (answer.status_code, codes(answer)) == (200, ["UNAUTHENTICATED"])


@pytest.fixture
def bad_tokens(house: House) -> dict[str, str]:
    assert house.tokens is not None
    good = house.tokens.make()
    return {
        "forged": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        "another server's": DevelopmentTokens(b"another key").make(),
        "expired": house.tokens.make(lifetime=-1),
        "nonsense": "nonsense",
        "not ASCII": "iadev_\u00e7.\u00e7",
    }


@pytest.mark.parametrize("case", ["forged", "another server's", "expired", "nonsense", "not ASCII"])
async def test_a_token_nobody_here_would_issue_is_refused(
    client: httpx.AsyncClient, bad_tokens: dict[str, str], case: str
) -> None:
    header = f"Bearer {bad_tokens[case]}".encode("latin-1")
    answer = await client.post("/graphql", json={"query": READ}, headers=[(b"authorization", header)])
    assert (answer.status_code, codes(answer)) == (401, ["UNAUTHENTICATED"])
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_other_kinds_of_credentials_are_refused(client: httpx.AsyncClient) -> None:
    answer = await ask(client, READ, authorization="Basic YW5hOmFuYQ==")
    assert (answer.status_code, codes(answer)) == (401, ["UNAUTHENTICATED"])


async def test_development_tokens_end_where_production_begins(serving: Serving, bearer: dict[str, str]) -> None:
    async with serving(APP_ENV="production") as client:
        answer = await ask(client, READ, **bearer)
        assert (answer.status_code, codes(answer)) == (401, ["UNAUTHENTICATED"])
        hidden = await ask(client, "{ __schema { types { name } } }")
        assert codes(hidden) == ["VALIDATION"]
