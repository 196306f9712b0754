"""Retention: expired data is gone, the history stays, and nothing in progress is changed."""

from datetime import timedelta

import pytest

from api.worker.loops import build_worker
from api.worker.process import all_jobs
from core.errors import InvalidState
from core.inbox.closing import replay_webhooks
from core.inbox.queries import webhook_payloads
from core.ports import Channel
from core.ports.identity import DEFAULT_TENANT
from core.privacy.retention import Retention, forget_expired_data
from core.settings import CoreSettings, load
from tests.apps import build_application
from tests.contributed import PERSONAL_DATA
from tests.databases import Urls
from tests.privacy.conftest import NEEDLES, NUMBER, WORDS, Life, wamid
from tests.privacy.storage_scan import found_anywhere

DAYS = {number: timedelta(days=number) for number in (1, 10, 20, 30, 40, 400)}
KEPT = Retention(content=DAYS[20], addresses=DAYS[30], webhooks=DAYS[10])


@pytest.fixture
async def some_chat(life: Life) -> Life:
    """Sent, reported, answered; more than one batch of it."""
    for place in range(5):
        await life.send(NUMBER, f"{WORDS} {place}", Channel.WHATSAPP)
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    for row in await life.owner.fetch("SELECT id FROM messages"):
        await life.report(row["id"], NUMBER)
    await life.written(NUMBER, WORDS, wamid(NUMBER, "A" * 18))
    return life


async def forget(life: Life) -> dict[str, int]:
    return await forget_expired_data(life.pipeline.worker, life.pipeline.sealer, KEPT, PERSONAL_DATA, batch=2)


async def test_each_kind_is_kept_for_as_long_as_was_said(some_chat: Life) -> None:
    life = some_chat
    assert await forget(life) == {"content": 0, "addresses": 0, "webhooks": 0}
    await life.grow_old(DAYS[10])
    assert await forget(life) == {"content": 0, "addresses": 0, "webhooks": 6}
    await life.grow_old(DAYS[10])
    assert await forget(life) == {"content": 6, "addresses": 0, "webhooks": 0}
    row = await life.owner.fetchrow("SELECT * FROM messages WHERE direction = 'OUTBOUND' LIMIT 1")
    message = await life.pipeline.message(row["id"])
    assert (message.content, message.to, message.to_masked) == (None, NUMBER, "+55 11 9••••-0123")
    await life.grow_old(DAYS[10])
    assert await forget(life) == {"content": 0, "addresses": 6, "webhooks": 0}
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []
    message = await life.pipeline.message(row["id"])
    assert (message.status, message.to, message.to_masked) == ("DELIVERED", None, "••••")
    assert await life.owner.fetchval("SELECT count(*) FROM message_events") > 0
    assert await forget(life) == {"content": 0, "addresses": 0, "webhooks": 0}


async def test_for_good_is_for_good(some_chat: Life) -> None:
    await some_chat.grow_old(DAYS[400])
    assert (
        await forget_expired_data(some_chat.pipeline.worker, some_chat.pipeline.sealer, Retention(), PERSONAL_DATA)
        == {}
    )
    assert (await some_chat.pipeline.count("messages WHERE content_sealed IS NULL")) == 0


@pytest.mark.parametrize(
    "standing",
    [
        "status = 'SCHEDULED', due_at = now() + interval '1 day'",
        "status = 'QUEUED', due_at = now()",
        "status = 'SENDING', lease_until = now() + interval '1 minute'",
        "status = 'UNCONFIRMED', due_at = now() + interval '1 hour'",
        "status = 'SENT', due_at = now() + interval '1 hour'",
    ],
)
async def test_what_is_under_way_is_left_alone_however_old(life: Life, standing: str) -> None:
    one = await life.send(NUMBER, WORDS)
    await life.owner.execute(f"UPDATE messages SET {standing}")
    await life.grow_old(DAYS[400])
    await forget(life)
    message = await life.pipeline.message(one)
    assert (message.to, message.erased_at) == (NUMBER, None)


async def test_a_message_counts_from_its_last_move(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    await life.deliver()
    await life.grow_old(DAYS[400])
    await life.owner.execute("UPDATE messages SET updated_at = now() - interval '1 day'")
    await forget(life)
    assert (await life.pipeline.message(one)).to == NUMBER


async def test_a_webhook_that_waits_is_left_alone(life: Life) -> None:
    await life.told("whatsapp", life.reported(wamid(NUMBER, "Z" * 18), "{}", None))
    await life.grow_old(DAYS[400])
    assert (await forget(life))["webhooks"] == 0


async def test_a_provider_event_past_its_retention_cannot_be_processed_again_and_says_so(some_chat: Life) -> None:
    life = some_chat
    await life.grow_old(DAYS[10])
    await forget(life)
    webhook = await life.owner.fetchval("SELECT id FROM inbox LIMIT 1")
    async with life.pipeline.app.transaction(DEFAULT_TENANT) as connection:
        assert await webhook_payloads(connection, life.pipeline.sealer, DEFAULT_TENANT, [webhook]) == {}
        refusal = (await replay_webhooks(connection, DEFAULT_TENANT, [webhook]))[webhook]
    assert isinstance(refusal, InvalidState)
    assert "no longer stored" in refusal.message


async def test_the_worker_does_it_every_day_by_the_settings(some_chat: Life, urls: Urls) -> None:
    await some_chat.grow_old(DAYS[40])
    application = build_application(
        urls, DATABASE_URL=urls.worker, RETENTION_CONTENT_DAYS="20", RETENTION_ADDRESSES_DAYS="0"
    )
    worker = build_worker(application)
    try:
        assert worker.forget in [job.run for job in all_jobs(worker)]
        await worker.forget()
    finally:
        await application.close()
    assert await some_chat.pipeline.count("messages WHERE content_sealed IS NULL") == 6
    assert await some_chat.pipeline.count("messages WHERE to_sealed IS NULL") == 0
    # The default: thirty days.
    assert await some_chat.pipeline.count("inbox WHERE raw_sealed IS NULL") == 6


@pytest.mark.parametrize(("text", "is_right"), [("0", True), ("7", True), ("36500", True), ("6", False), ("-1", False)])
def test_a_span_too_short_for_what_is_under_way_is_refused(text: str, is_right: bool) -> None:
    loaded = load(CoreSettings, {"RETENTION_CONTENT_DAYS": text})
    assert (not loaded.problems) is is_right
