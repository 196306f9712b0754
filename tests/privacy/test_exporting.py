"""What is exported about a person: both directions of their messages, webhooks, allow lists, and nothing of others."""

import json
from typing import Any

from core.person import Person
from core.ports import Channel
from core.ports.identity import DEFAULT_TENANT
from core.privacy.export import export_person
from core.sealing import Sealer
from tests.contributed import PERSONAL_DATA
from tests.privacy.conftest import MAIL, NUMBER, OLD_NUMBER, OTHER_NUMBER, OTHER_WORDS, WORDS, Life, wamid


async def exported(life: Life, address: str, sealer: Sealer | None = None) -> list[dict[str, Any]]:
    """What is exported, as a reader of JSON gets it."""
    used = sealer or life.pipeline.sealer
    found = export_person(life.pipeline.app, used, DEFAULT_TENANT, Person.of(address), PERSONAL_DATA, batch=2)
    return [json.loads(json.dumps(one)) async for one in found]


async def test_messages_in_both_directions_webhooks_and_allow_lists_are_exported_and_nobody_elses(life: Life) -> None:
    for place in range(3):
        await life.send(NUMBER, f"{WORDS} {place}", external_id=f"order-{place}")
    await life.deliver()
    await life.written(OLD_NUMBER, f"quero {WORDS}", wamid(OLD_NUMBER, "A" * 18))
    await life.nobody_asked(f"OptOutType=STOP&From=%2B{NUMBER[1:]}", "SM1:optout")
    await life.send(OTHER_NUMBER, OTHER_WORDS)
    await life.written(OTHER_NUMBER, OTHER_WORDS, wamid(OTHER_NUMBER, "B" * 18))
    await life.nobody_asked(f"From=%2B{OTHER_NUMBER[1:]}", "SM2:optout")
    await life.listed(NUMBER, OTHER_NUMBER)
    await life.listed(OTHER_NUMBER)
    found = await exported(life, NUMBER)
    assert OTHER_NUMBER[3:] not in json.dumps(found)
    assert OTHER_WORDS not in json.dumps(found)
    keys = [one for one in found if one["type"] == "ApiKey"]
    assert [(one["name"], one["recipients"]) for one in keys] == [("staging", [NUMBER])]
    messages = [one for one in found if one["type"] == "Message"]
    assert [(one["direction"], one["status"], one["content"]["text"]) for one in messages] == [
        *(("OUTBOUND", "SENT", f"{WORDS} {place}") for place in range(3)),
        ("INBOUND", "RECEIVED", f"quero {WORDS}"),
    ]
    assert [one["to"] for one in messages[:3]] == [NUMBER] * 3
    assert messages[3]["from"] == OLD_NUMBER
    assert messages[0]["externalId"] == "order-0"
    assert all(one["createdAt"] and one["unreadable"] == [] for one in messages)
    assert all(one["sentAt"] for one in messages[:3])
    webhooks = [one for one in found if one["type"] == "WebhookDelivery"]
    assert [(one["integration"], one["status"]) for one in webhooks] == [
        ("whatsapp", "PROCESSED"),
        ("twilio", "IGNORED"),
    ]
    assert webhooks[1]["payload"] == f"OptOutType=STOP&From=%2B{NUMBER[1:]}"
    assert len(found) == len(keys) + len(messages) + len(webhooks)


async def test_an_email_is_exported_with_its_subject(life: Life) -> None:
    await life.send(MAIL, WORDS, Channel.EMAIL)
    [mail] = await exported(life, MAIL.upper())
    assert (mail["to"], mail["channel"]) == (MAIL, "EMAIL")
    assert mail["content"] == {"subject": WORDS, "plain_text": WORDS, "html": None}


async def test_after_an_erasure_there_is_nothing_to_export(life: Life) -> None:
    await life.send(NUMBER, WORDS)
    await life.written(NUMBER, WORDS, wamid(NUMBER, "C" * 18))
    await life.listed(NUMBER)
    assert len(await exported(life, NUMBER)) == 4
    await life.erase(NUMBER)
    assert await exported(life, NUMBER) == []


async def test_what_lies_under_a_missing_key_is_said_to_be_missing(life: Life) -> None:
    await life.send(NUMBER, WORDS)
    await life.nobody_asked(f"From=%2B{NUMBER[1:]}", "SM1:optout")
    newcomer = Sealer({"k2": b"n" * 32})
    # Its message is found by the hash of a key that is not here.
    assert await exported(life, NUMBER, newcomer) == [{"type": "Incomplete", "unreadableWebhooks": 1}]
    both = Sealer({"k2": b"n" * 32, "k1": b"k" * 32})
    assert [one["type"] for one in await exported(life, NUMBER, both)] == ["Message", "WebhookDelivery"]
