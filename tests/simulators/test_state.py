"""A simulator's state can be exported and imported; an invalid one is refused. One contract for every provider."""

from typing import Any

import pytest
from pydantic import SecretStr

from integrations.simulating.client import SimulatorRefused
from tests.contract.providers import settings_of
from tests.servers import KEY, PASSWORD, TOKEN, WHATSAPP, Simulators, WebhookReceiver
from tests.simulators.clients import WITH_CHANNELS, send_through_adapter

every = pytest.mark.parametrize("name", WITH_CHANNELS)


async def live(name: str, simulators: Simulators, receiver: WebhookReceiver) -> None:
    """A day at the provider: messages, everything that can happen to them, time that passes."""
    if (await simulators.control.state(name))["webhooks"] is not None:
        await simulators.control.plan_webhooks(name, automatic=False)
    for _ in range(2):
        await send_through_adapter(name, simulators, receiver)
    for event in (await simulators.control.state(name))["events"]:
        await simulators.control.trigger(name, event["name"])
    await simulators.control.advance(name, 3_600.5)
    await send_through_adapter(name, simulators, receiver)


async def all_of(name: str, simulators: Simulators) -> tuple[Any, Any]:
    state = await simulators.control.state(name)
    return {**state, "now": None, "webhooks": None}, await simulators.control.messages(name)


@every
async def test_what_was_handed_out_is_taken_back_and_handed_out_again_the_same(
    simulators: Simulators, receiver: WebhookReceiver, name: str
) -> None:
    await live(name, simulators, receiver)
    memory, before = await simulators.control.export_memory(name), await all_of(name, simulators)
    await simulators.control.reset(name)
    assert await simulators.control.messages(name) == []
    await simulators.control.import_memory(name, memory)
    assert await all_of(name, simulators) == before
    assert await simulators.control.export_memory(name) == memory


@every
async def test_it_works_on_with_the_memory_it_was_given(
    simulators: Simulators, receiver: WebhookReceiver, name: str
) -> None:
    await live(name, simulators, receiver)
    memory = await simulators.control.export_memory(name)
    await simulators.control.reset(name)
    await simulators.control.import_memory(name, memory)
    before = len(await simulators.control.messages(name))
    message_id = await send_through_adapter(name, simulators, receiver)
    assert len(await simulators.control.messages(name)) == before + 1
    for event in (await simulators.control.state(name))["events"]:
        assert (await simulators.control.trigger(name, event["name"]))["status"] == 204
    assert (await simulators.control.message(name, message_id))["id"] == message_id


def garbage(memory: dict[str, Any]) -> list[dict[str, Any]]:
    """What looks like a memory, and is none."""
    books = memory["books"]
    [kept] = [key for key in ("messages", "mails") if key in books]
    message_id, message = next(iter(books[kept].items()))

    def with_messages(messages: object) -> dict[str, Any]:
        return {**memory, "books": {**books, kept: messages}}

    return [
        {},
        {"books": books},
        {**memory, "ahead": "a while"},
        {**memory, "ahead": -1},
        {**memory, "ahead": 1e300},
        {**memory, "colour": "red"},
        {**memory, "company": "acme"},
        {**memory, "version": memory["version"] + 1},
        {**memory, "version": None},
        {**memory, "books": []},
        {**memory, "books": {**books, "colour": "red"}},
        with_messages([message]),
        with_messages({message_id: {}}),
        with_messages({message_id: {**message, "at": "yesterday"}}),
        with_messages({message_id: {**message, "at": "2026-11-23T14:00:00"}}),
        with_messages({message_id: {**message, "colour": "red"}}),
        with_messages({message_id: message, "another": message}),
    ]


@every
async def test_an_invalid_state_is_refused_as_a_whole_and_changes_nothing(
    simulators: Simulators, receiver: WebhookReceiver, name: str
) -> None:
    await live(name, simulators, receiver)
    memory, before = await simulators.control.export_memory(name), await all_of(name, simulators)
    for wrong in garbage(memory):
        with pytest.raises(SimulatorRefused) as caught:
            await simulators.control.import_memory(name, wrong)
        assert caught.value.status == 400, wrong
        assert await simulators.control.export_memory(name) == memory
        assert await all_of(name, simulators) == before


@every
async def test_an_unknown_version_and_another_provider_are_named(simulators: Simulators, name: str) -> None:
    memory = await simulators.control.export_memory(name)
    for change, field in (({"version": 99}, "version"), ({"company": "acme"}, "company")):
        with pytest.raises(SimulatorRefused) as caught:
            await simulators.control.import_memory(name, {**memory, **change})
        assert caught.value.field == field
        assert str(change[field]) in str(caught.value)


@every
async def test_no_secret_is_handed_out(simulators: Simulators, receiver: WebhookReceiver, name: str) -> None:
    await live(name, simulators, receiver)
    memory = str(await simulators.control.export_memory(name))
    settings = settings_of(name)
    told = [value for field in type(settings).model_fields for value in _secrets(getattr(settings, field))]
    of_the_process = [TOKEN, KEY[1], PASSWORD, WHATSAPP["WHATSAPP_ACCESS_TOKEN"], WHATSAPP["WHATSAPP_APP_SECRET"]]
    assert told
    assert not [secret for secret in (*told, *of_the_process) if secret in memory]


def _secrets(value: object) -> list[str]:
    found = value if isinstance(value, tuple) else (value,)
    return [one.get_secret_value() for one in found if isinstance(one, SecretStr)]


async def test_what_was_under_way_ends_with_the_old_memory(simulators: Simulators, receiver: WebhookReceiver) -> None:
    empty = await simulators.control.export_memory("twilio")
    await simulators.control.plan_webhooks("twilio", hold=True, delays=[0])
    await send_through_adapter("twilio", simulators, receiver)
    await simulators.control.inbound("twilio", sender="+5511987654321", text="Oi")
    await simulators.control.import_memory("twilio", empty)
    assert await simulators.control.release("twilio") == 0
    assert await simulators.control.messages("twilio") == []
    assert receiver.received == []


async def test_a_memory_of_many_messages_is_taken_back(simulators: Simulators, receiver: WebhookReceiver) -> None:
    await send_through_adapter("twilio", simulators, receiver)
    memory = await simulators.control.export_memory("twilio")
    [message] = memory["books"]["messages"].values()
    many = {f"SM{number:032x}": {**message, "id": f"SM{number:032x}"} for number in range(4_000)}
    await simulators.control.import_memory("twilio", {**memory, "books": {**memory["books"], "messages": many}})
    assert (await simulators.control.state("twilio"))["messages"] == 4_000


@pytest.mark.parametrize(
    "change",
    [
        {"customers": {"x": {"digits": "x"}}},
        {"customers": {"5511987654321": {"digits": "5511987650000"}}},
        {"templates": [{"name": "no more than a name"}]},
        {"conditions": {"token": "lost"}},
        {"waiting": [{}]},
        {"waiting": [{"contacts": [{}], "status": {}}]},
    ],
)
async def test_an_inconsistent_state_is_refused(simulators: Simulators, change: dict[str, Any]) -> None:
    memory = await simulators.control.export_memory("whatsapp")
    with pytest.raises(SimulatorRefused) as caught:
        await simulators.control.import_memory("whatsapp", {**memory, "books": {**memory["books"], **change}})
    assert caught.value.status == 400
    assert await simulators.control.export_memory("whatsapp") == memory
