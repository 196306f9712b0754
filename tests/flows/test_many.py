"""Many at once and some for later: accepted together over HTTP, carried in their time."""

import asyncio

from tests.flows.conftest import System, new_phone


async def test_a_message_for_later_goes_out_in_its_time(system: System, phone: str) -> None:
    message_id = await system.sms(phone, schedule={"after": "PT2S"})
    assert await system.status(message_id) == "SCHEDULED"
    assert await system.copies(phone) == 0
    await system.comes_to(message_id, "DELIVERED")
    assert await system.changes(message_id) == ["SCHEDULED", "QUEUED", "SENDING", "SENT", "DELIVERED"]
    assert await system.copies(phone) == 1


async def test_forty_at_once_each_arrive_once(system: System) -> None:
    phones = [new_phone() for _ in range(40)]
    ids = await asyncio.gather(*(system.sms(one, idempotencyKey=f"many-{one}") for one in phones))
    again = await asyncio.gather(*(system.sms(one, idempotencyKey=f"many-{one}") for one in phones))
    assert (again, len(set(ids))) == (ids, 40)
    for message_id in ids:
        await system.comes_to(message_id, "DELIVERED", 30)
    assert [await system.copies(one) for one in phones] == [1] * 40


async def test_a_batch_is_carried_and_says_when_it_is_over(system: System, phone: str) -> None:
    message = {"to": {"phone": phone}, "content": {"text": "Olá, Ana!"}, "route": [{"channel": "SMS"}]}
    send = "mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { batch { id } results { isReplay } } }"
    payload = await system.ask(send, input={"idempotencyKey": f"batch-{phone}", "messages": [message] * 3})
    batch_id = payload["sendMessages"]["batch"]["id"]
    show = "query ($id: ID!) { messageBatch(id: $id) { finishedAt counts { total delivered } } }"
    async with asyncio.timeout(20):
        while (batch := (await system.ask(show, id=batch_id))["messageBatch"])["counts"]["delivered"] < 3:
            await asyncio.sleep(0.05)
    assert batch["counts"]["total"] == 3
    assert batch["finishedAt"] is not None
