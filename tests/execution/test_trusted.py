"""Enforced trust applies everywhere: HTTP, event streams and sockets run the same documents."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar
from structlog.testing import capture_logs

from api.http.documents import DocumentStore, TrustedDocuments
from api.http.graphql import routes
from core.settings import Manifest, TrustMode
from core.settings.values import digest
from engine.engine import Engine
from tests.execution.sample import Journal, edge_over, schema, translate
from tests.execution.servers import serving
from tests.execution.sockets import open_socket, receive_json, send_json

COUNT = "subscription Count { count(to: 1) }"
OTHER = "subscription { count(to: 1) }"


@pytest.fixture
async def strict() -> AsyncIterator[str]:
    """Where a server runs that trusts one subscription."""
    library = DocumentStore(TrustedDocuments(Manifest({digest(COUNT): COUNT}), TrustMode.ENFORCE))
    edge = edge_over(Engine(schema, translate=translate), Journal(), documents=library)
    async with serving(Litestar(routes(edge), openapi_config=None, logging_config=None)) as (_, host):
        yield host


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": COUNT}, '"count":1'),
        ({"documentId": digest(COUNT)}, '"count":1'),
        ({"query": OTHER}, "DOCUMENT_NOT_TRUSTED"),
        ({"documentId": digest(OTHER)}, "DOCUMENT_NOT_TRUSTED"),
    ],
)
async def test_streams_and_sockets_run_what_is_trusted_and_nothing_else(
    strict: str, body: dict[str, Any], said: str
) -> None:
    with capture_logs():
        async with httpx.AsyncClient() as client:
            headers = {"accept": "text/event-stream"}
            streamed = await client.post(f"http://{strict}/graphql", json=body, headers=headers)
        assert said in streamed.text
        async with open_socket(strict) as socket:
            await send_json(socket, {"id": "a", "type": "subscribe", "payload": body})
            heard = await receive_json(socket)
    assert heard["type"] == ("next" if said == '"count":1' else "error")
    assert said.strip('"').split('"')[0] in str(heard)
