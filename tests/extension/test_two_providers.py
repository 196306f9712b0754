"""Two providers for one channel: which one carries it, what is refused, and what becomes of a switch."""

import io
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from rich.console import Console

from api.bootstrap import build_app
from api.cli import check
from api.configuration import load_configuration, to_simulate
from core.messages.validation import ChannelService
from core.ports import Channel
from resolvers.global_ids import uuid_of
from tests.databases import ENCRYPTION_KEY, SharedStores
from tests.extension import with_second
from tests.extension.with_second import SETTINGS as COURIER
from tests.extension.with_second import TOKEN
from tests.helpers import until
from tests.running_system import System, new_phone, readiness, running_system
from tests.unit.settings_samples import TWILIO

STORES = {
    "DATABASE_URL": "postgresql://app@127.0.0.1:9/app",
    "REDIS_URL": "redis://127.0.0.1:9/0",
    "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
}
ATTEMPTS = "query($id: ID!) { message(id: $id) { attempts { outcome integration { kind } } } }"


@pytest.fixture
def second() -> Iterator[None]:
    with with_second.second_provider():
        yield


def problems(environment: Mapping[str, str]) -> list[str]:
    return [str(problem) for problem in load_configuration(environment).problems]


def table(environment: Mapping[str, str]) -> str:
    screen = io.StringIO()
    check.render(load_configuration(environment), Console(file=screen, width=200))
    return screen.getvalue()


async def sms_service(**environment: str) -> ChannelService:
    """How SMS is served by an application with these settings; nothing is connected."""
    app = build_app(load_configuration({**STORES, **environment}))
    await app.close()
    return app.services.outbox.channels[Channel.SMS]


async def test_an_unconfigured_folder_changes_nothing(second: None) -> None:
    for given, name in ((TWILIO, "twilio"), (COURIER, "courier")):
        assert problems(given) == []
        service = await sms_service(**given)
        assert (service.integration, service.is_configured) == (name, True)
    assert "○ courier" in table(TWILIO)
    assert "courier          not configured: this server sends text messages through twilio" in table(TWILIO)


async def test_the_setting_chooses_between_two_that_are_configured(second: None) -> None:
    for name in ("twilio", "courier", "Courier"):
        given = {**TWILIO, **COURIER, "SMS_VIA": name}
        assert problems(given) == []
        service = await sms_service(**given)
        assert (service.integration, service.is_configured) == (name.lower(), True)
    shown = next(line for line in table({**TWILIO, **COURIER, "SMS_VIA": "twilio"}).splitlines() if "courier" in line)
    assert shown.startswith("✓ courier")
    assert shown.endswith("; this server sends text messages through twilio")


def test_two_that_are_configured_and_none_chosen_are_refused_with_the_fix(second: None) -> None:
    [problem] = problems({**TWILIO, **COURIER})
    assert problem == (
        "SMS_VIA is missing: courier and twilio are configured for SMS, and one must carry it: "
        "set SMS_VIA=courier or SMS_VIA=twilio"
    )
    assert "✗ SMS_VIA" in table({**TWILIO, **COURIER})
    assert check.run(True, {**TWILIO, **COURIER}) == 3
    # Found at once with what is missing of one of them.
    half = {**TWILIO, "COURIER_TOKEN": TOKEN}
    assert [one.split()[0] for one in problems(half)] == ["COURIER_SENDER", "SMS_VIA"]


def test_a_choice_that_cannot_carry_the_channel_is_refused_with_the_possible_ones(second: None) -> None:
    cases = {
        "nexmo": "SMS_VIA names no known provider: set it to courier or twilio",
        "smtp": "SMS_VIA names a provider that does not carry SMS: set it to courier or twilio",
        "courier": "SMS_VIA names courier, which is not configured: set COURIER_TOKEN, COURIER_SENDER, "
        "or set SMS_VIA to twilio",
    }
    for name, said in cases.items():
        assert problems({**TWILIO, "SMS_VIA": name}) == [said]
    assert problems({"SMS_VIA": "courier"})[0].endswith("or unset SMS_VIA")
    assert problems({**TWILIO, "WHATSAPP_VIA": "twilio"}) == [
        "WHATSAPP_VIA names a provider that does not carry WHATSAPP: set it to whatsapp"
    ]


async def test_several_folders_and_none_configured_leave_the_channel_open_with_advice_for_each(second: None) -> None:
    assert problems({}) == []
    service = await sms_service()
    assert not service.is_configured
    assert "COURIER_TOKEN, COURIER_SENDER (courier) / " in service.advice
    assert "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN (twilio)" in service.advice
    assert table({"APP_ENV": "production"}).count("text messages will answer CHANNEL_NOT_CONFIGURED") == 2


def test_what_runs_on_this_machine_simulates_only_what_carries_a_channel(second: None) -> None:
    assert "twilio" in to_simulate(load_configuration({}))
    assert "twilio" not in to_simulate(load_configuration(COURIER))
    chosen = load_configuration({"SMS_VIA": "twilio"}, simulates=True)
    assert (chosen.problems, "twilio" in to_simulate(chosen)) == ((), True)


# ─── A switch on the running system ───────────────────────────────────────


@pytest.fixture
async def system(stores: SharedStores, tmp_path: Path) -> AsyncIterator[System]:
    program = [sys.executable, str(Path(with_second.__file__))]
    settings = {**COURIER, "SMS_VIA": "twilio", "UNCONFIRMED_HOLD": "600"}
    async with running_system(stores, tmp_path, program=program, **settings) as running:
        yield running


async def switch(system: System, **settings: str) -> None:
    """Start API and worker again with other settings."""
    for process in (system.api, system.worker):
        assert await process.end() == 0
        process.environment = {**process.environment, **settings}
        await process.start()
    await until(lambda: readiness(system.http), lambda status: status == 200, 30)


async def attempts(system: System, message: str) -> list[tuple[Any, ...]]:
    found = (await system.ask(ATTEMPTS, id=message))["message"]["attempts"]
    return [(one["integration"]["kind"], one["outcome"]) for one in found]


@pytest.mark.slow
async def test_after_a_switch_the_former_provider_is_still_heard_and_asked(system: System) -> None:
    reported, lost, later = new_phone(), new_phone(), new_phone()
    await system.control.plan_webhooks("twilio", automatic=False)
    await system.control.arm("twilio", "reset", next=1, to=lost, accepted=True)
    first = await system.sms(reported)
    second = await system.sms(lost)
    await system.comes_to(first, "SENT")
    await system.comes_to(second, "UNCONFIRMED")

    await switch(system, SMS_VIA="courier", UNCONFIRMED_HOLD="1")
    third = await system.sms(later)
    await system.comes_to(third, "SENT")
    assert await attempts(system, third) == [("COURIER", "ACCEPTED")]
    assert await system.copies(later) == 0

    [sent] = await system.control.messages("twilio", to=reported)
    await system.control.report("twilio", sent["sid"], "delivered")
    await system.comes_to(first, "DELIVERED")
    assert await attempts(system, first) == [("TWILIO", "ACCEPTED")]

    owner = await asyncpg.connect(system.urls.superuser)
    await owner.execute("UPDATE messages SET due_at = now() WHERE id = $1", uuid_of(second, "Message"))
    await owner.close()
    shown = await system.comes_to(second, "SENT", 20)
    assert any("twilio's list shows it" in (event["detail"] or "") for event in shown["events"]["nodes"])
    assert await attempts(system, second) == [("TWILIO", "ACCEPTED")]
    assert await system.copies(lost) == 1

    report = {"id": f"courier-{uuid_of(third, 'Message')}", "status": "DELIVERED"}
    answer = await system.http.post("/webhooks/courier", json=report, headers={"x-courier-token": TOKEN})
    assert answer.status_code == 204
    await system.comes_to(third, "DELIVERED")
