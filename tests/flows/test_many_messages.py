"""Many messages at once, batches, scheduled messages and long texts, over every transport."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from core.ports.content import EMAIL_LIMIT
from tests.running_system import SEND, System, new_phone

Write = Callable[[System, bytes], Awaitable[dict[str, Any]]]


async def test_a_scheduled_message_is_sent_on_time(system: System, phone: str) -> None:
    message_id = await system.sms(phone, schedule={"after": "PT2S"})
    assert await system.status(message_id) == "SCHEDULED"
    assert await system.copies(phone) == 0
    await system.comes_to(message_id, "DELIVERED")
    assert await system.changes(message_id) == ["SCHEDULED", "QUEUED", "SENDING", "SENT", "DELIVERED"]
    assert await system.copies(phone) == 1


async def test_forty_messages_at_once_are_each_delivered_once(system: System) -> None:
    phones = [new_phone() for _ in range(40)]
    ids = await asyncio.gather(*(system.sms(one, idempotencyKey=f"many-{one}") for one in phones))
    again = await asyncio.gather(*(system.sms(one, idempotencyKey=f"many-{one}") for one in phones))
    assert (again, len(set(ids))) == (ids, 40)
    for message_id in ids:
        await system.comes_to(message_id, "DELIVERED", 30)
    assert [await system.copies(one) for one in phones] == [1] * 40


async def test_a_batch_is_delivered_and_reports_its_end(system: System, phone: str) -> None:
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


async def over_http(system: System, request: bytes) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    return dict((await system.http.post("/graphql", content=request, headers=headers)).json())


async def over_events(system: System, request: bytes) -> dict[str, Any]:
    headers = {"content-type": "application/json", "accept": "text/event-stream"}
    answer = await system.http.post("/graphql", content=request, headers=headers)
    [data] = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return dict(json.loads(data))


async def over_a_socket(system: System, request: bytes) -> dict[str, Any]:
    url = system.base.replace("http", "ws") + "/graphql"
    async with connect(url, subprotocols=["graphql-transport-ws"]) as socket_:  # type: ignore[list-item]
        await socket_.send(
            json.dumps({"type": "connection_init", "payload": {"Authorization": f"Bearer {system.token}"}})
        )
        await socket_.recv()
        await socket_.send((b'{"id": "1", "type": "subscribe", "payload": ' + request + b"}").decode())
        return dict(json.loads(await socket_.recv())["payload"])


async def test_the_longest_mail_is_accepted_over_every_transport_and_in_every_encoding(system: System) -> None:
    # In UTF-8 a character has up to four bytes; escaped in JSON it has six, or twelve above U+FFFF.
    for number, (write, character, escaped) in enumerate(
        [
            (over_http, "ç", False),
            (over_http, "ç", True),
            (over_http, "😀", True),
            (over_events, "😀", True),
            (over_a_socket, "😀", True),
        ]
    ):
        address = f"longa{number}@example.com"
        content = {"email": {"subject": "Contrato", "plainText": "a", "html": character * (EMAIL_LIMIT - 1)}}
        message = {"to": {"email": address}, "content": content, "route": [{"channel": "EMAIL"}]}
        request = {"query": SEND, "variables": {"input": message}}
        answer = await write(system, json.dumps(request, ensure_ascii=escaped).encode())
        payload = answer["data"]["sendMessage"]
        assert payload["errors"] == [], (write, character, escaped)
        await system.comes_to(payload["message"]["id"], "SENT", 30)
        mail = (await system.control.messages("smtp", to=address))[-1]
        assert mail["html"].strip() == character * (EMAIL_LIMIT - 1)


async def test_a_batch_of_four_mebibytes_is_accepted_and_a_larger_one_is_refused_with_advice(system: System) -> None:
    send = "mutation ($input: SendMessagesInput!) { sendMessages(input: $input) { results { errors { __typename } } } }"

    def batch(length: int) -> bytes:
        message = {"to": {"phone": new_phone()}, "content": {"text": "ç" * length}, "route": [{"channel": "SMS"}]}
        # Scheduled for tomorrow: this test checks only what is accepted.
        later = message | {"schedule": {"after": "P1D"}}
        given = {"messages": [later] * 500, "idempotencyKey": f"batch-{new_phone()}"}
        return json.dumps({"query": send, "variables": {"input": given}}).encode()

    for write in (over_http, over_a_socket):
        answer = await write(system, batch(1_300))
        assert answer["data"]["sendMessages"]["results"] == [{"errors": []}] * 500
    answer = await over_http(system, batch(1_600))
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "PAYLOAD_TOO_LARGE"
    assert "4194304 bytes" in error["message"]
    assert "UTF-8" in error["extensions"]["advice"]


async def test_the_command_line_reads_a_text_of_any_length_from_standard_input(system: System, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("interalpha")
    environment = {"PATH": os.environ["PATH"], **system.environment}

    async def send(*arguments: str, text: bytes) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            program,
            "send",
            "email",
            *arguments,
            "--url",
            system.base,
            cwd=tmp_path,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(text)
        return process.returncode or 0, output.decode()

    for number, (character, arguments) in enumerate((("😀", ("-",)), ("ç", ("", "--html", "-")))):
        address, written = f"entrada{number}@example.com", character * EMAIL_LIMIT
        status, output = await send(address, *arguments, "--subject", "Contrato", text=written.encode())
        assert status == 0, output
        mail = (await system.control.messages("smtp", to=address))[-1]
        assert written in (mail["text"] or mail["html"])
    status, output = await send("torta@example.com", "-", text=b"\xff")
    assert (status, "standard input is not valid UTF-8" in output) == (2, True)
