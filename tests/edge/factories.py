"""Requests, credentials and signed webhooks for the tests of the HTTP edge."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from twilio.request_validator import RequestValidator

from api.bootstrap import App
from api.http.app import create_asgi_app
from api.http.health import Readiness
from tests.apps import TWILIO, UNREACHABLE
from tests.providers.clerk_tokens import PAGE, PUBLIC_PEM
from tests.servers import CLERK

READ_MESSAGES = "{ messages(first: 1) { pageInfo { hasNextPage } } }"


SEND_MESSAGE = """mutation { sendMessage(input: {
  to: {phone: "+5511987654321"}, content: {text: "Oi"}, route: [{channel: SMS}]
}) { message { status } } }"""


async def post_query(client: httpx.AsyncClient, query: str, **headers: str) -> httpx.Response:
    return await client.post("/graphql", json={"query": query}, headers=headers)


def error_codes(answer: httpx.Response) -> list[str]:
    errors: list[dict[str, Any]] = answer.json()["errors"]
    return [error["extensions"]["code"] for error in errors]


OWN_ORIGIN = "https://api.example.com"


CLERK_SETTINGS = {
    **CLERK,
    "CLERK_API_BASE": UNREACHABLE,
    "CLERK_JWT_KEY": PUBLIC_PEM,
    "CLERK_AUTHORIZED_PARTIES": f"{PAGE},{OWN_ORIGIN}",
}


def url_with_login(url: str, user: str, password: str, *, database: str | None = None) -> str:
    parts = urlsplit(url)
    return f"postgresql://{user}:{password}@127.0.0.1:{parts.port}/{database or parts.path[1:]}"


TWILIO_WEBHOOK_URL = "https://api.example.com/webhooks/twilio"


FORM_HEADERS = {"content-type": "application/x-www-form-urlencoded"}


def twilio_report(**changes: str) -> dict[str, str]:
    """A status callback about a message of its own."""
    return {"MessageSid": f"SM{uuid4().hex}", "MessageStatus": "delivered", "ErrorCode": "", **changes}


def twilio_signature(
    form: dict[str, str], url: str = TWILIO_WEBHOOK_URL, token: str = TWILIO["TWILIO_AUTH_TOKEN"]
) -> str:
    """Twilio's signature, made by Twilio's own library."""
    return str(RequestValidator(token).compute_signature(url, form))


UNREACHABLE_DATABASE = "postgresql://app@127.0.0.1:9/app"


UNREACHABLE_REDIS = "redis://127.0.0.1:9/0"


Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def client_of(application: App, readiness: Readiness | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Call an application in process; its host name is not its public one."""
    transport = httpx.ASGITransport(create_asgi_app(application, readiness or Readiness(application)))
    async with httpx.AsyncClient(transport=transport, base_url="http://10.0.0.7:8000") as client:
        yield client
