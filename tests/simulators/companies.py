"""Every company that has a simulator here, and its own adapter pointed at it: what the promises are tried with."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from api.dev.simulated import addresses
from core.ports import Connected, Surroundings
from integrations.registry import all_integrations
from tests.contract.companies import COMPANIES, card_of, settings_of
from tests.running import Receiver, Simulators

SIMULATED = [name for name in all_integrations() if find_spec(f"integrations.{name}.simulator") is not None]

CARRYING = [name for name in SIMULATED if all_integrations()[name].channels]
"""Those that carry messages."""


@asynccontextmanager
async def adapter(name: str, simulators: Simulators, receiver: Receiver) -> AsyncIterator[Connected]:
    """The company's adapter; what it is told comes to the receiver."""
    leading = addresses([name], simulators.announced)
    if name == "smtp":
        leading |= {"SMTP_TLS": "starttls", "SMTP_CA_FILE": simulators.announced["ca_file"]}
    connect = card_of(name).connect
    assert connect is not None
    at_work = connect(settings_of(name, **leading), Surroundings(f"{receiver.base}/webhooks/{name}"))
    try:
        yield at_work
    finally:
        await at_work.close()


async def send(name: str, simulators: Simulators, receiver: Receiver) -> str:
    """Send a message through the company; returns its id there."""
    async with adapter(name, simulators, receiver) as company:
        assert company.sender is not None
        await company.sender.send(COMPANIES[name].message)
    return str((await simulators.control.messages(name))[-1]["id"])
