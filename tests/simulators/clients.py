"""Clients of the simulated providers: our adapters, Twilio's SDK, pywa, and bare HTTP requests."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import httpx
import pytest
from pywa_async import WhatsApp
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from core.ports import Connected, IntegrationContext
from devkit.supervisor import addresses
from integrations.registry import all_integrations
from tests.contract.providers import PROVIDERS, card_of, settings_of
from tests.servers import ACCOUNT, NUMBER, TOKEN, WHATSAPP, ReceivedWebhook, Simulators, WebhookReceiver

SIMULATED = [name for name in all_integrations() if find_spec(f"integrations.{name}.simulator") is not None]

WITH_CHANNELS = [name for name in SIMULATED if all_integrations()[name].channels]
"""Those that carry messages."""


@asynccontextmanager
async def adapter(name: str, simulators: Simulators, receiver: WebhookReceiver) -> AsyncIterator[Connected]:
    """The provider's adapter; its webhooks go to the receiver."""
    leading = addresses([name], simulators.announced)
    if name == "smtp":
        leading |= {"SMTP_TLS": "starttls", "SMTP_CA_FILE": simulators.announced["ca_file"]}
    connect = card_of(name).connect
    assert connect is not None
    at_work = connect(settings_of(name, **leading), IntegrationContext(f"{receiver.base}/webhooks/{name}"))
    try:
        yield at_work
    finally:
        await at_work.close()


async def send_through_adapter(name: str, simulators: Simulators, receiver: WebhookReceiver) -> str:
    """Send a message through the provider; return its id there."""
    async with adapter(name, simulators, receiver) as provider:
        assert provider.sender is not None
        await provider.sender.send(PROVIDERS[name].message)
    return str((await simulators.control.messages(name))[-1]["id"])


async def send_sms(client: Client, **changes: Any) -> Any:
    """Send through the SDK, which blocks."""
    fields = {"to": ANA_PHONE, "from_": NUMBER, "body": "Olá, Ana", **changes}
    return await asyncio.to_thread(lambda: client.messages.create(**fields))


ANA_PHONE = "+5511987654321"


async def refused_sms(client: Client, **changes: Any) -> TwilioRestException:
    with pytest.raises(TwilioRestException) as caught:
        await send_sms(client, **changes)
    return caught.value


def is_signed_by_twilio(webhook: ReceivedWebhook) -> bool:
    signature = webhook.headers["X-Twilio-Signature"]
    return bool(RequestValidator(TOKEN).validate(webhook.url, webhook.fields, signature))


ANA_WHATSAPP = "5511987654321"


BIA_USER_ID = "BR.1005511900000004"


UNKNOWN_WHATSAPP = "5511987650000"


NUMBER_ID = WHATSAPP["WHATSAPP_PHONE_NUMBER_ID"]


ACCOUNT_ID = WHATSAPP["WHATSAPP_BUSINESS_ACCOUNT_ID"]


TEXT_BODY = {"messaging_product": "whatsapp", "to": ANA_WHATSAPP, "type": "text", "text": {"body": "Olá, Ana!"}}


REMINDER_TEMPLATE = {"name": "appointment_reminder", "language": {"code": "pt_BR"}}


async def post_to_meta(
    simulators: Simulators,
    changes: Mapping[str, Any] | None = None,
    *,
    path: str = f"v26.0/{NUMBER_ID}/messages",
    token: str = "EAAtoken",
    content: bytes | None = None,
    **query: str,
) -> httpx.Response:
    """A bare request; a change to None leaves the field out."""
    body = {name: value for name, value in {**TEXT_BODY, **(changes or {})}.items() if value is not None}
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=simulators.whatsapp_base, headers=headers, trust_env=False) as client:
        if content is not None:
            return await client.post(path, content=content, headers={"content-type": "text/plain"})
        return await client.post(path, json=body, params=query)


def error_code(answer: httpx.Response) -> int:
    return int(answer.json()["error"]["code"])


def body_parameters(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "body", "parameters": [{"type": "text", "text": text} for text in texts]}]


def template_message(**changes: Any) -> dict[str, Any]:
    wanted = {**REMINDER_TEMPLATE, "components": body_parameters("Ana", "24/11"), **changes}
    return {"text": None, "type": "template", "template": wanted}


def twilio_sdk(running: Simulators, *credentials: str) -> Client:
    """Twilio's own client with other credentials."""
    client = Client(*(credentials or (ACCOUNT, TOKEN)))
    client.api.base_url = running.twilio_base
    client.http_client.timeout = 3
    return client


def pywa_client(running: Simulators, session: httpx.AsyncClient, token: str = "EAAtoken") -> WhatsApp:
    """pywa's client with a token."""
    client = WhatsApp(
        phone_id=WHATSAPP["WHATSAPP_PHONE_NUMBER_ID"],
        token=token,
        session=session,
        waba_id=WHATSAPP["WHATSAPP_BUSINESS_ACCOUNT_ID"],
        app_secret=WHATSAPP["WHATSAPP_APP_SECRET"],
        verify_token=WHATSAPP["WHATSAPP_WEBHOOK_VERIFY_TOKEN"],
    )
    # The client knows only Meta's own address.
    session.base_url = httpx.URL(f"{running.whatsapp_base}/v26.0")
    return client
