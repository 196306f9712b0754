"""Faults of the companies and of the way to them: refusals, lost answers, and webhooks that travel badly."""

from random import Random
from typing import Any

from tests.faults.city import City
from tests.faults.faults import Fault, Heal, Inject, refuse_wire

AMBIGUOUS = frozenset({"server_error", "timeout", "reset", "garbage"})


def company(kind: str, **order: Any) -> Inject:
    """Arm a fault of Twilio's, and count how many answers it left open."""

    async def inject(city: City, chance: Random) -> Heal:
        armed = await city.control.arm("twilio", kind, **{"every": chance.choice([1, 2, 3]), **order})

        async def heal() -> None:
            [fault] = [one for one in (await city.control.state("twilio"))["faults"] if one["id"] == armed["id"]]
            city.ambiguous += fault["struck"] if kind in AMBIGUOUS else 0
            await city.control.disarm("twilio", armed["id"])

        return heal

    return inject


def webhooks(**plan: Any) -> Inject:
    """Let reports travel another way for a while; what was held back is sent in the end."""

    async def inject(city: City, chance: Random) -> Heal:
        await city.control.plan_webhooks("twilio", **plan)

        async def heal() -> None:
            await city.control.plan_webhooks("twilio")
            await city.control.release("twilio")

        return heal

    return inject


async def reset_on_the_way(city: City, chance: Random) -> Heal:
    """Every line to Twilio is reset, whatever is being said on it."""
    city.wires["twilio"].cut(reset=True)

    async def heal() -> None:
        return None

    return heal


REFUSALS = (
    Fault("Twilio: 429", company("rate_limit", retry_after=1), lasts=(0.3, 1.5)),
    Fault("Twilio: 429 with a date", company("rate_limit", retry_after=2, retry_after_as="date"), lasts=(0.3, 1.5)),
    Fault("Twilio: 500, not done", company("server_error", next=10, every=None)),
    Fault("Twilio: 500, and done", company("server_error", accepted=True)),
    Fault("Twilio: garbage, not done", company("garbage", next=5, every=None)),
    Fault("Twilio: garbage, and done", company("garbage", accepted=True)),
    Fault("Twilio: reset, not done", company("reset", next=10, every=None)),
    Fault("Twilio: reset, and done", company("reset", accepted=True)),
    Fault("Twilio: silence, not done", company("timeout", next=3, every=None)),
    Fault("Twilio: silence, and done", company("timeout", next=5, every=None, accepted=True)),
    Fault("Twilio: slow", company("slow", seconds=1.5), lasts=(0.5, 2)),
    Fault("Twilio: the way reset", reset_on_the_way),
    Fault("Twilio: refuses connections", refuse_wire("twilio"), lasts=(0.3, 1.5)),
)

REPORTS = (
    Fault("reports five times", webhooks(copies=5), lasts=(0.5, 2)),
    Fault("reports reversed", webhooks(reversed=True), lasts=(0.5, 2)),
    Fault("reports held back", webhooks(hold=True), lasts=(1, 4)),
    Fault("reports at once", webhooks(delays=[0, 0]), lasts=(0.5, 2)),
    Fault("reports doubled and reversed", webhooks(copies=2, reversed=True), lasts=(0.5, 2)),
)

COMPANIES = REFUSALS + REPORTS
