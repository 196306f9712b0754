"""The simulator process, and a client that nobody here wrote."""

import pytest
from twilio.rest import Client

# The fixtures of the process.
from tests.running import ACCOUNT, TOKEN, Simulators, process, receiver, simulators  # noqa: F401


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
