"""GraphQL over HTTP, with a real server."""

import json
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.execution.sample import Journal

HELLO = {"query": "{ hello }"}
GRAPHQL = "application/graphql-response+json"
JSON = {"content-type": "application/json"}


async def post(client: httpx.AsyncClient, body: object, **headers: str) -> httpx.Response:
    return await client.post("/graphql", json=body, headers={n.replace("_", "-"): v for n, v in headers.items()})


def code_of(response: httpx.Response) -> Any:
    assert "data" not in response.json()
    (error,) = response.json()["errors"]
    assert error["extensions"]["requestId"] == response.headers["x-request-id"]
    return error["extensions"]["code"]


async def test_a_query_is_answered(client: httpx.AsyncClient) -> None:
    response = await post(client, {"query": "query Q($n: String) { hello(name: $n) }", "variables": {"n": "Ada"}})
    assert response.status_code == 200
    assert response.json() == {"data": {"hello": "Hello, Ada!"}}
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("accept", "answered_as"),
    [
        (GRAPHQL, GRAPHQL),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/html, application/xml;q=0.9, */*;q=0.8", "application/json"),
        (f"{GRAPHQL}, application/json;q=0.9", GRAPHQL),
        (f"application/json;q=0.5, {GRAPHQL};q=0.8", GRAPHQL),
        ("*/*, application/json;q=0", GRAPHQL),
        # What urql sends with every query.
        (f"{GRAPHQL}, application/graphql+json, application/json, text/event-stream, multipart/mixed", GRAPHQL),
    ],
)
async def test_the_client_chooses_the_media_type(client: httpx.AsyncClient, accept: str, answered_as: str) -> None:
    response = await post(client, HELLO, accept=accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{answered_as}; charset=utf-8"


@pytest.mark.parametrize("accept", ["text/html", "multipart/mixed", "application/json;q=0", "application/json;q=x"])
async def test_a_media_type_we_do_not_have_is_406(client: httpx.AsyncClient, accept: str) -> None:
    response = await post(client, HELLO, accept=accept)
    assert (response.status_code, code_of(response)) == (406, "NOT_ACCEPTABLE")


INVALID_BODIES = [
    b'{"query": "{ hello }\xff"}',
    b"1",
    b"null",
    b'"x"',
    b"[" * 50_000,
    b'{"query": "{ hello }", "variables": {"n": ' + b"9" * 6_000 + b"}}",
    b'{"query": "{ hello }", "variables": ' + b'{"n": ' * 2_000 + b"1" + b"}" * 2_001,
    b"",
    b"{}",
    b'{"query": "{ hello',
    b'{"query": 1}',
    b'{"query": null}',
    b'{"query": "{ hello }", "variables": []}',
    b'{"query": "{ hello }", "variables": "{}"}',
    b'{"query": "{ hello }", "operationName": 1}',
    b'{"query": "{ hello }", "extensions": []}',
    b'{"extensions": {"persistedQuery": {"version": 2, "sha256Hash": "' + b"ab" * 32 + b'"}}}',
    b'{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}}',
    b'{"extensions": {"persistedQuery": []}}',
    b'{"documentId": 1}',
]


ACCEPTED_TYPES = ["application/json", GRAPHQL]


async def test_a_body_that_makes_no_sense_is_400(subtests: pytest.Subtests, client: httpx.AsyncClient) -> None:
    for body in INVALID_BODIES:
        for accept in ACCEPTED_TYPES:
            with subtests.test(f"{accept}: {body!r}"):
                response = await client.post("/graphql", content=body, headers={**JSON, "accept": accept})
                assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


async def test_variables_nested_as_deep_as_json_goes_are_answered(client: httpx.AsyncClient) -> None:
    deep = b'{"n": ' * 1_000 + b"1" + b"}" * 1_000
    body = b'{"query": "query ($n: String) { hello(name: $n) }", "variables": ' + deep + b"}"
    response = await client.post("/graphql", content=body, headers=JSON)
    assert (response.status_code, code_of(response)) == (200, "VARIABLES")


async def test_several_operations_in_one_body_are_refused_with_an_explanation(client: httpx.AsyncClient) -> None:
    response = await post(client, [HELLO, HELLO])
    assert (response.status_code, code_of(response)) == (400, "BATCHING")


async def test_a_persisted_query_is_answered_so_that_clients_send_the_whole(client: httpx.AsyncClient) -> None:
    request = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab" * 32}}}
    response = await post(client, request, accept=GRAPHQL)
    assert (response.status_code, code_of(response)) == (400, "PERSISTED_QUERY_NOT_SUPPORTED")
    response = await post(client, request)
    assert (response.status_code, code_of(response)) == (200, "PERSISTED_QUERY_NOT_SUPPORTED")
    assert response.json()["errors"][0]["message"] == "PersistedQueryNotSupported"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"query": "{"}, "SYNTAX"),
        ({"query": "{ nothing }"}, "VALIDATION"),
        ({"query": "query ($n: String!) { hello(name: $n) }"}, "VARIABLES"),
        ({"query": "{ hello @a @a @a @a @a @a }"}, "LIMIT_EXCEEDED"),
    ],
)
async def test_a_refused_document_is_400_for_those_who_asked_for_graphql(
    client: httpx.AsyncClient, body: dict[str, Any], code: str
) -> None:
    for accept, status in ((GRAPHQL, 400), ("application/json", 200)):
        response = await post(client, body, accept=accept)
        assert (response.status_code, code_of(response)) == (status, code)


async def test_an_ambiguous_operation_is_400_for_all(client: httpx.AsyncClient) -> None:
    for accept in (GRAPHQL, "application/json"):
        response = await post(client, {"query": "query A { hello } query B { hello }"}, accept=accept)
        assert (response.status_code, code_of(response)) == (400, "OPERATION")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=latin1",
    ],
)
async def test_a_body_that_is_not_called_json_is_415(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = await client.post("/graphql", content=b'{"query": "{ hello }"}', headers=headers)
    assert (response.status_code, code_of(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_body_too_large_is_413_whether_announced_or_not(client: httpx.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(5):
            yield b" " * 65_536

    for content in (b" " * 262_145, chunks()):
        response = await client.post("/graphql", content=content, headers=JSON)
        assert (response.status_code, code_of(response)) == (413, "PAYLOAD_TOO_LARGE")


async def test_an_authenticated_caller_may_send_larger_bodies(client: httpx.AsyncClient) -> None:
    body = json.dumps({"query": "{ hello }", "variables": {"x": "x" * 4_000_000}}).encode()
    ada = {**JSON, "authorization": "Bearer ada"}
    assert (await client.post("/graphql", content=body, headers=ada)).json()["data"].keys() == {"hello"}
    response = await client.post("/graphql", content=body, headers=JSON)
    assert (response.status_code, code_of(response)) == (413, "PAYLOAD_TOO_LARGE")
    assert "Without credentials" in response.json()["errors"][0]["message"]
    response = await client.post("/graphql", content=b" " * (4 * 1024 * 1024 + 1), headers=ada)
    assert (response.status_code, code_of(response)) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "QUERY"])
async def test_other_methods_are_405_with_the_allowed_ones(client: httpx.AsyncClient, method: str) -> None:
    response = await client.request(method, "/graphql")
    assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, POST, OPTIONS"


async def test_a_query_may_be_asked_with_get(client: httpx.AsyncClient) -> None:
    parameters = {"query": "query Q($n: String) { hello(name: $n) }", "variables": '{"n": "Ada"}', "operationName": "Q"}
    response = await client.get("/graphql", params=parameters)
    assert response.json() == {"data": {"hello": "Hello, Ada!"}}
    empty = {"query": "{ hello }", "variables": "", "operationName": "", "extensions": ""}
    assert (await client.get("/graphql", params=empty)).status_code == 200


@pytest.mark.parametrize("query_string", ["", "query=%FF", "query={hello}&variables={", "query={hello}&variables=[]"])
async def test_a_query_string_that_makes_no_sense_is_400(client: httpx.AsyncClient, query_string: str) -> None:
    response = await client.get(f"/graphql?{query_string}")
    assert (response.status_code, code_of(response)) == (400, "BAD_REQUEST")


async def test_a_mutation_over_get_is_405_and_changes_nothing(client: httpx.AsyncClient, journal: Journal) -> None:
    for accept in ("application/json", "text/event-stream"):
        query = {"query": 'mutation { rename(name: "Eve") }'}
        response = await client.get("/graphql", params=query, headers={"accept": accept})
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert journal.names == []
    assert (await post(client, query)).json() == {"data": {"rename": "Eve"}}
    assert journal.names == ["Eve"]


async def test_a_subscription_without_a_stream_is_400(client: httpx.AsyncClient, journal: Journal) -> None:
    response = await post(client, {"query": "subscription { watch }"})
    assert (response.status_code, code_of(response)) == (400, "STREAM_NEEDED")
    assert journal.opened == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://dashboard.example", "sec-fetch-site": "cross-site"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"origin": "https://us.example", "host": "us.example"}, 200),
    ],
)
async def test_pages_of_other_sites_may_not_ask(
    client: httpx.AsyncClient, journal: Journal, headers: dict[str, str], status: int
) -> None:
    for request in (
        client.build_request("POST", "/graphql", json=HELLO, headers=headers),
        client.build_request("GET", "/graphql", params=HELLO, headers=headers),
    ):
        assert (await client.send(request)).status_code == status
    assert len(journal.contexts) == (2 if status == 200 else 0)


async def test_the_token_says_who_is_asking(client: httpx.AsyncClient) -> None:
    whoami = {"query": "{ whoami }"}
    assert (await post(client, whoami, authorization="Bearer ada")).json() == {"data": {"whoami": "ada"}}
    assert (await post(client, whoami, authorization="bearer ada")).json() == {"data": {"whoami": "ada"}}
    assert (await post(client, whoami)).json() == {"data": {"whoami": None}}


@pytest.mark.parametrize("authorization", ["Bearer eve", "Basic YWRhOg==", "ada", "Bearer a b"])
async def test_an_unknown_token_is_401(client: httpx.AsyncClient, authorization: str) -> None:
    response = await post(client, HELLO, authorization=authorization)
    assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_failure_of_ours_is_500_and_keeps_its_secrets(client: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        response = await post(client, HELLO, authorization="Bearer broken", accept=GRAPHQL)
    assert (response.status_code, code_of(response)) == (500, "INTERNAL")
    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"
    assert "fire" not in response.text
    assert [entry["request_id"] for entry in logs] == [response.headers["x-request-id"]]


async def test_only_callers_who_may_introspect_do(client: httpx.AsyncClient) -> None:
    query = {"query": "{ __schema { queryType { name } } }"}
    assert code_of(await post(client, query)) == "VALIDATION"
    response = await post(client, query, authorization="Bearer ada")
    assert response.json()["data"] == {"__schema": {"queryType": {"name": "Query"}}}


async def test_a_request_id_is_kept_if_it_is_sane(client: httpx.AsyncClient, journal: Journal) -> None:
    assert (await post(client, HELLO, x_request_id="trace_1-a")).headers["x-request-id"] == "trace_1-a"
    for odd in ("a b", "x" * 65, "", "a\tb"):
        made = (await post(client, HELLO, x_request_id=odd)).headers["x-request-id"]
        assert made != odd
        assert len(made) == 32
    assert journal.contexts[0].request_id == "trace_1-a"


async def test_the_languages_a_client_reads_come_to_the_resolvers(client: httpx.AsyncClient, journal: Journal) -> None:
    for header in ("en;q=0.5, pt-BR, *;q=0.1, de;q=0, x y", "", "q=1;;,,;"):
        await post(client, HELLO, accept_language=header)
    assert [context.languages for context in journal.contexts] == [("pt-br", "en"), (), ()]


PREFLIGHT = {
    "origin": "https://dashboard.example",
    "sec-fetch-site": "cross-site",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


async def test_a_page_of_an_allowed_origin_learns_what_it_may_send(client: httpx.AsyncClient) -> None:
    response = await client.options("/graphql", headers=PREFLIGHT)
    assert (response.status_code, response.content) == (204, b"")
    told = {name: text for name, text in response.headers.items() if name.startswith("access-control")}
    assert told == {
        "access-control-allow-origin": "https://dashboard.example",
        "access-control-allow-methods": "GET, POST, OPTIONS",
        "access-control-allow-headers": "authorization,content-type",
        "access-control-expose-headers": "x-request-id, retry-after, "
        "ratelimit-limit, ratelimit-remaining, ratelimit-reset",
        "access-control-max-age": "7200",
    }
    assert "origin" in response.headers["vary"]


async def test_a_page_of_an_allowed_origin_reads_answers_refusals_and_streams(client: httpx.AsyncClient) -> None:
    page = {"origin": "https://dashboard.example"}
    for response in (
        await post(client, HELLO, **page),
        await post(client, HELLO, **page, authorization="Bearer eve"),
        await post(client, HELLO, **page, accept="text/html"),
        await post(client, HELLO, **page, accept="text/event-stream"),
    ):
        assert response.headers["access-control-allow-origin"] == "https://dashboard.example"
        assert "access-control-allow-credentials" not in response.headers


async def test_a_page_of_another_origin_gets_no_permissions(client: httpx.AsyncClient) -> None:
    response = await client.options("/graphql", headers={**PREFLIGHT, "origin": "https://evil.example"})
    assert response.status_code == 403
    assert [name for name in response.headers if name.startswith("access-control")] == []


async def test_header_names_that_are_none_are_not_repeated(client: httpx.AsyncClient) -> None:
    response = await client.options("/graphql", headers={**PREFLIGHT, "access-control-request-headers": "a b"})
    assert "access-control-allow-headers" not in response.headers


async def test_an_options_request_without_an_origin_gets_the_methods(client: httpx.AsyncClient) -> None:
    response = await client.options("/graphql")
    assert (response.status_code, response.headers["allow"]) == (204, "GET, POST, OPTIONS")
    assert [name for name in response.headers if name.startswith("access-control")] == []


async def test_an_accept_in_several_lines_is_one_list(client: httpx.AsyncClient) -> None:
    lines = [("accept", "text/html"), ("accept", f"{GRAPHQL};q=0.5"), ("accept", "application/json;q=0.4")]
    response = await client.post("/graphql", json=HELLO, headers=lines)
    assert response.headers["content-type"] == f"{GRAPHQL}; charset=utf-8"


async def test_two_tokens_are_none(client: httpx.AsyncClient) -> None:
    lines = [("authorization", "Bearer ada"), ("authorization", "Bearer bob")]
    response = await client.post("/graphql", json=HELLO, headers=lines)
    assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")


async def test_a_compressed_body_is_415(client: httpx.AsyncClient) -> None:
    response = await client.post("/graphql", content=b"\x1f\x8b", headers={**JSON, "content-encoding": "gzip"})
    assert (response.status_code, code_of(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert response.headers["accept-encoding"] == "identity"
