"""The simulated companies beside the running `interalpha dev`: where they are, and which of them we speak to."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from api.cli.client import Api
from api.cli.failures import Exit, Failure
from api.cli.surroundings import core_settings, project_environment
from api.dev.home import Home
from api.embedded.folder import LOOPBACK
from core.ports import Mode
from core.settings.core_settings import AppEnv
from integrations.simulating.client import SimulatorControl, SimulatorRefused

_MODES = "{ integrations { kind configuration { mode } } }"
_ATTEMPTS = "query($id: ID!) { message(id: $id) { attempts { providerMessageId integration { kind } } } }"


@dataclass(frozen=True, slots=True)
class Offer:
    """An event somebody here can make happen; `parameters` are the names of what it may be told."""

    name: str
    words: str
    parameters: tuple[str, ...]
    company: str
    is_simulated: bool


def simulators_address() -> str:
    """Find the control API of the running `dev`; raises Failure where there is none, and in production."""
    environment = project_environment()
    # Before all else: what production lacks is of no interest here.
    if environment.get("APP_ENV") == AppEnv.PRODUCTION:
        raise Failure("APP_ENV is production: nothing is simulated here, and no event is made up.", Exit.NOT_CONFIGURED)
    settings = core_settings(environment)
    told = Home(settings.home).told()
    if not told:
        raise Failure(
            f"`interalpha dev` is not running in {settings.home.absolute()}. "
            "Start it with `make dev`, or set INTERALPHA_HOME to its folder.",
            Exit.NOT_CONFIGURED,
        )
    if "SIMULATORS_PORT" not in told:
        raise Failure("Every company is configured here, so none is simulated.", Exit.NOT_CONFIGURED)
    return f"http://{LOOPBACK}:{told['SIMULATORS_PORT']}"


@dataclass(frozen=True, slots=True)
class Workbench:
    """The simulators' control API, and our own API beside it. Everything raises Failure."""

    control: SimulatorControl
    api: Api

    async def offers(self) -> list[Offer]:
        """Every event there is, by company."""
        found = (await self.api.ask(_MODES, {}))["integrations"]
        modes = {one["kind"].lower(): one["configuration"]["mode"] for one in found}
        companies = (await self.control.everything())["simulators"]
        return [
            Offer(event["name"], event["words"], tuple(event["parameters"]), name, modes.get(name) == Mode.SIMULATED)
            for company in companies
            if (name := company["name"])
            for event in company["events"]
        ]

    async def trigger(self, offer: Offer, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make an event happen, and tell how we received its webhook."""
        told = dict(order)
        if "message" in told:
            told["message"] = await self._companys_id(offer.company, str(told["message"]))
        return await self.control.trigger(offer.company, offer.name, **told)

    async def _companys_id(self, company: str, given: str) -> str:
        """Return the company's id of a message, given that or ours."""
        try:
            await self.control.message(company, given)
        except SimulatorRefused as refusal:
            if refusal.status != httpx.codes.NOT_FOUND:
                raise
        else:
            return given
        message = (await self.api.ask(_ATTEMPTS, {"id": given}))["message"] or {"attempts": []}
        ours = [one for one in message["attempts"] if one["integration"]["kind"].lower() == company]
        if found := [one["providerMessageId"] for one in ours if one["providerMessageId"]]:
            return str(found[-1])
        raise Failure(
            f"{company} knows no message {given}. `interalpha messages list` shows the ids of those there are."
        )


@asynccontextmanager
async def workbench(api: Api, address: str) -> AsyncIterator[Workbench]:
    """Open the control API at an address; what it refuses is a Failure."""
    try:
        async with SimulatorControl(address) as control:
            yield Workbench(control, api)
    except SimulatorRefused as refusal:
        where = f"{refusal.field}: " if refusal.field else ""
        raise Failure(f"{where}{refusal}") from None
    except httpx.HTTPError as error:
        words = f"The simulators do not answer at {address} ({type(error).__name__})."
        raise Failure(f"{words} `make dev` starts them again by itself: try once more.") from None
