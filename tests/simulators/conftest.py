"""The simulator process, and clients that nobody here wrote."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pywa_async import WhatsApp
from twilio.rest import Client

# The fixtures of the process.
from tests.running import ACCOUNT, TOKEN, WHATSAPP, Simulators, process, receiver, simulators  # noqa: F401


@pytest.fixture
def twilio(simulators: Simulators) -> Client:  # noqa: F811
    """Twilio's own client, pointed at the simulator."""
    return sdk(simulators)


def sdk(running: Simulators, *credentials: str) -> Client:
    """Twilio's own client with other credentials."""
    client = Client(*(credentials or (ACCOUNT, TOKEN)))
    client.api.base_url = running.twilio_base
    client.http_client.timeout = 3
    return client


@pytest.fixture
async def meta(simulators: Simulators) -> AsyncIterator[WhatsApp]:  # noqa: F811
    """pywa's client, pointed at the simulator."""
    async with httpx.AsyncClient(trust_env=False, timeout=3) as session:
        yield pywa_client(simulators, session)


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
