"""Third-party clients, pointed at the simulators."""

from collections.abc import AsyncIterator

import httpx
import pytest
from pywa_async import WhatsApp
from twilio.rest import Client

# The fixtures of the process.
from tests.servers import Simulators
from tests.simulators.clients import pywa_client, twilio_sdk


@pytest.fixture
def twilio(simulators: Simulators) -> Client:
    """Twilio's own client, pointed at the simulator."""
    return twilio_sdk(simulators)


@pytest.fixture
async def meta(simulators: Simulators) -> AsyncIterator[WhatsApp]:
    """pywa's client, pointed at the simulator."""
    async with httpx.AsyncClient(trust_env=False, timeout=3) as session:
        yield pywa_client(simulators, session)
