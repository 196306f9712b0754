"""An erased person is found nowhere any more, and the history of their messages is still known."""

import asyncio
from base64 import b64encode
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from core import person
from core.access.api_keys import api_keys_by_id
from core.errors import InvalidState
from core.ids import uuid7
from core.messages.retry import retry_message
from core.messages.status import make_step
from core.messages.validation import Draft
from core.ports import Channel, TextContent
from core.ports.identity import DEFAULT_TENANT
from core.privacy.erase import run_erasure_step
from tests.contributed import PERSONAL_DATA
from tests.databases import Urls
from tests.helpers import until
from tests.privacy.conftest import (
    MAIL,
    NEEDLES,
    NUMBER,
    OLD_NUMBER,
    OTHER_NUMBER,
    OTHER_WORDS,
    WORDS,
    Life,
    wamid,
)
from tests.privacy.storage_scan import found_anywhere


async def a_life_together(life: Life) -> None:
    """Everything that leaves traces of a person, some of it twice as there is more than one step's worth."""
    for place in range(4):
        await life.send(NUMBER, f"{WORDS} {place}", idempotency_key=f"order-{NUMBER}-{place}")
    await life.deliver()
    await life.nobody_asked(f"OptOutType=STOP&From=%2B{NUMBER[1:]}&Body={WORDS}", "SM1:optout")
    chat = await life.send(NUMBER, WORDS, Channel.WHATSAPP, external_id=f"cliente (11) {NUMBER[5:10]}-{NUMBER[10:]}")
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    await life.report(chat, NUMBER)
    await life.written(NUMBER, f"quero {WORDS}", wamid(NUMBER, "A" * 18))
    # An account older than the ninth digit is named without it.
    await life.written(OLD_NUMBER, f"mais {WORDS}", wamid(OLD_NUMBER, "B" * 18))
    await life.send(MAIL, f"{WORDS} por e-mail", Channel.EMAIL)
    await life.deliver(Channel.EMAIL, "smtp")
    await life.nobody_asked(f"To=maria.quitanda%40example.com&Subject={WORDS}", "SM2:bounce")
    await life.listed(NUMBER, OTHER_NUMBER)


async def test_after_an_erasure_number_address_and_content_are_found_nowhere(life: Life) -> None:
    await a_life_together(life)
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES), "nothing was planted"
    by_number, by_mail = await life.erase(NUMBER), await life.erase(MAIL)
    assert by_number.finished_at is not None
    assert by_mail.finished_at is not None
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []
    # Four SMS, one on WhatsApp, two they wrote; a report, two they wrote, an ignored event; four keys, one name,
    # one list.
    assert (by_number.messages, by_number.webhooks, by_number.names) == (7, 4, 6)
    assert (by_mail.messages, by_mail.webhooks) == (1, 1)


async def test_an_erased_recipient_is_removed_from_allow_lists_and_the_others_stay(life: Life) -> None:
    both, alone = await life.listed(NUMBER, OTHER_NUMBER), await life.listed(OLD_NUMBER)
    await life.listed(OTHER_NUMBER)
    assert (await life.erase(OLD_NUMBER)).names == 2
    async with life.pipeline.app.transaction(DEFAULT_TENANT) as connection:
        keys = await api_keys_by_id(connection, DEFAULT_TENANT, [both, alone])
    assert [len(keys[one].recipients_masked) for one in (both, alone)] == [1, 0]
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []


@pytest.mark.parametrize("written", [NUMBER, OLD_NUMBER, "+55 (11) 98765-0123"])
async def test_however_the_number_is_written(life: Life, written: str) -> None:
    await life.send(NUMBER, WORDS)
    await life.written(OLD_NUMBER, WORDS, wamid(OLD_NUMBER, "C" * 18))
    await life.erase(written)
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []


@pytest.mark.parametrize("written", [MAIL, MAIL.upper(), "Maria.Quitanda@Example.com"])
async def test_however_the_capitals_of_a_mailbox_are_written(life: Life, written: str) -> None:
    await life.send("Maria.Quitanda@example.com", WORDS, Channel.EMAIL)
    await life.listed("MARIA.quitanda@example.com", OTHER_NUMBER)
    erasure = await life.erase(written)
    assert (erasure.messages, erasure.names) == (1, 1)
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []


async def test_a_webhook_that_is_replayed_while_it_is_searched_is_waited_for(life: Life, urls: Urls) -> None:
    await life.nobody_asked(f"From=%2B{NUMBER[1:]}&Body={WORDS}", "SM9:optout")
    somebody = await asyncpg.connect(urls.superuser)
    replaying = somebody.transaction()
    await replaying.start()
    await somebody.execute("UPDATE inbox SET status = 'RECEIVED', due_at = now()")
    id = await life.ask_to_erase(NUMBER)
    searching = asyncio.create_task(
        run_erasure_step(life.pipeline.worker, life.pipeline.sealer, life.pipeline.hub, PERSONAL_DATA)
    )
    waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
    await until(lambda: life.owner.fetchval(waiting), bool)
    await replaying.commit()
    await somebody.close()
    await searching
    assert (await life.erasure(id)).finished_at is None
    await life.apply()
    await life.owner.execute("UPDATE erasures SET due_at = now()")
    assert (await life.erase(NUMBER)).finished_at is not None
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []


async def test_a_recipient_with_a_longer_address_is_not_affected(life: Life) -> None:
    for place, other in enumerate((f"{MAIL}.br", f"ana.{MAIL}")):
        await life.send(
            other, OTHER_WORDS, Channel.EMAIL, external_id=f"cliente {other}", idempotency_key=f"key {other}"
        )
        await life.nobody_asked(f"To={other}", f"SM{place}:bounce")
    erasure = await life.erase(MAIL)
    assert (erasure.messages, erasure.webhooks, erasure.names) == (0, 0, 0)


async def test_what_happened_and_when_is_still_known(life: Life) -> None:
    one = await life.send(NUMBER, WORDS, Channel.WHATSAPP)
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    await life.report(one, NUMBER)
    before, events, attempts = (
        await life.pipeline.message(one),
        await life.pipeline.events(one),
        await life.pipeline.attempts(one),
    )
    await life.erase(NUMBER)
    after = await life.pipeline.message(one)
    assert (after.status, after.created_at, after.delivered_at) == (
        before.status,
        before.created_at,
        before.delivered_at,
    )
    assert (after.to, after.to_masked, after.content) == (None, "••••", None)
    assert after.erased_at is not None
    assert await life.pipeline.events(one) == events
    assert [one.outcome for one in await life.pipeline.attempts(one)] == [one.outcome for one in attempts]


async def test_others_lose_nothing(life: Life) -> None:
    other = await life.send(OTHER_NUMBER, OTHER_WORDS, external_id="order-1", idempotency_key="key-1")
    await life.written(OTHER_NUMBER, OTHER_WORDS, wamid(OTHER_NUMBER, "D" * 18))
    await life.nobody_asked(f"From=%2B{OTHER_NUMBER[1:]}", "SM3:optout")
    await a_life_together(life)
    before = await life.pipeline.message(other)
    await life.erase(NUMBER)
    assert await life.pipeline.message(other) == before
    for table, kept in (("inbox", 2), ("messages", 2)):
        column = {"inbox": "raw_sealed", "messages": "content_sealed"}[table]
        left = await life.owner.fetchval(f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL")
        # Their e-mail address is another one, and was not asked for.
        assert left == kept + 1, table


async def test_another_tenants_messages_to_the_same_person_stay(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    tenant = await another_tenant(life)
    draft = Draft(TextContent(WORDS), [make_step(Channel.SMS)], phone=NUMBER)
    theirs = (await life.pipeline.outbox.accept(tenant, draft)).message_id
    await life.erase(NUMBER)
    assert (await life.pipeline.message(one)).to is None
    assert (await life.pipeline.message(theirs, tenant)).to == NUMBER


async def test_a_provider_event_about_another_tenants_customer_does_not_stay_with_the_default_tenant(
    life: Life,
) -> None:
    """A report without our reference belongs to the default tenant until its owner is known."""
    tenant = await another_tenant(life)
    draft = Draft(TextContent(WORDS), [make_step(Channel.WHATSAPP)], phone=NUMBER)
    theirs = (await life.pipeline.outbox.accept(tenant, draft)).message_id
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    await life.report(theirs, NUMBER, reference=False)
    assert (await life.pipeline.message(theirs, tenant)).status == "DELIVERED"
    assert await life.owner.fetchval("SELECT count(*) FROM inbox WHERE raw_sealed IS NOT NULL") == 0


async def another_tenant(life: Life) -> UUID:
    tenant = UUID("3fea8953-6801-4312-8af1-47d803b5847a")
    await life.owner.execute("INSERT INTO tenants VALUES ($1, 'outra', 'Outra', 'UTC', 'EUR')", tenant)
    return tenant


async def test_what_waits_is_stopped_and_not_sent(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    done = await life.erase(NUMBER)
    await life.deliver()
    assert (await life.pipeline.status(one), done.canceled) == ("CANCELED", 1)
    assert await life.pipeline.attempts(one) == []


async def test_an_unconfirmed_message_is_given_up_and_not_sent_again(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    await life.deliver()
    await life.owner.execute("UPDATE messages SET status = 'UNCONFIRMED', due_at = now(), unconfirmed_at = now()")
    await life.erase(NUMBER)
    assert await life.pipeline.status(one) == "FAILED"
    assert await life.owner.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_what_is_just_being_sent_is_waited_for(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    await life.owner.execute("UPDATE messages SET status = 'SENDING', lease_until = now() + interval '1 minute'")
    erasure = await life.erase(NUMBER)
    assert erasure.finished_at is None
    await life.owner.execute("UPDATE messages SET status = 'SENT', lease_until = NULL, due_at = NULL")
    await life.owner.execute("UPDATE erasures SET due_at = now()")
    while await run_erasure_step(life.pipeline.worker, life.pipeline.sealer, life.pipeline.hub, PERSONAL_DATA):
        pass
    assert (await life.erasure(erasure.id)).finished_at is not None
    assert (await life.pipeline.message(one)).to is None


async def test_a_webhook_that_waits_to_be_applied_is_waited_for(life: Life) -> None:
    raw = f'{{"from":"{NUMBER[1:]}"}}'
    await life.told("whatsapp", life.reported(wamid(NUMBER, "E" * 18), raw, None))
    erasure = await life.erase(NUMBER)
    assert erasure.finished_at is None
    await life.owner.execute("UPDATE inbox SET status = 'IGNORED'")
    await life.owner.execute("UPDATE erasures SET due_at = now()")
    while await run_erasure_step(life.pipeline.worker, life.pipeline.sealer, life.pipeline.hub, PERSONAL_DATA):
        pass
    assert (await life.erasure(erasure.id)).finished_at is not None
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []


@pytest.mark.parametrize("reference", [True, False])
async def test_a_late_report_still_finds_its_message_and_leaves_no_trace(life: Life, reference: bool) -> None:
    one = await life.send(NUMBER, WORDS, Channel.WHATSAPP)
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    name = str((await life.pipeline.attempts(one))[0].provider_message_id)
    await life.erase(NUMBER)
    raw = f'{{"statuses":[{{"id":"{name}","recipient_id":"{NUMBER[1:]}"}}]}}'
    for status in ("delivered", "read"):
        await life.told("whatsapp", life.reported(name, raw, one if reference else None, status))
        await life.apply()
    assert await life.pipeline.status(one) == "READ"
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []


async def test_an_event_sent_again_is_still_recognised(life: Life) -> None:
    name = wamid(NUMBER, "F" * 18)
    await life.written(NUMBER, WORDS, name)
    await life.erase(NUMBER)
    await life.written(NUMBER, WORDS, name)
    assert await life.pipeline.count("messages") == 1
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []


async def test_what_was_kept_before_there_were_hashes_is_known_too(life: Life) -> None:
    name = wamid(NUMBER, "G" * 18)
    await life.written(NUMBER, WORDS, name)
    await life.owner.execute("UPDATE inbox SET dedupe_key = $1", name)
    await life.written(NUMBER, WORDS, name)
    assert (await life.pipeline.count("inbox"), await life.pipeline.count("messages")) == (1, 1)


async def test_a_late_failure_does_not_go_on_to_the_next_channel(life: Life) -> None:
    route = [make_step(Channel.WHATSAPP, within=timedelta(hours=1)), make_step(Channel.SMS)]
    draft = Draft(TextContent(WORDS), route, phone=NUMBER)
    one = (await life.pipeline.outbox.accept(DEFAULT_TENANT, draft)).message_id
    await life.deliver(Channel.WHATSAPP, "whatsapp")
    await life.erase(NUMBER)
    await life.report(one, NUMBER, status="failed")
    assert await life.pipeline.status(one) == "FAILED"
    await life.deliver()
    assert len(await life.pipeline.attempts(one)) == 1


async def test_it_cannot_be_sent_again(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    await life.owner.execute("UPDATE messages SET status = 'FAILED', due_at = NULL")
    await life.erase(NUMBER)
    for route in (None, [make_step(Channel.SMS)]):
        with pytest.raises(InvalidState, match="no longer stored"):
            await retry_message(life.pipeline.outbox, DEFAULT_TENANT, one, route)


async def test_asked_for_twice_it_is_one_and_done_twice_it_is_as_done(life: Life) -> None:
    await life.send(NUMBER, WORDS)
    assert await life.ask_to_erase(NUMBER) == await life.ask_to_erase(OLD_NUMBER)
    first = await life.erase(NUMBER)
    second = await life.erase(NUMBER)
    assert first.id != second.id
    assert (first.messages, second.messages, second.finished_at is not None) == (1, 0, True)


async def test_each_step_is_kept_so_that_a_dead_worker_costs_one(life: Life) -> None:
    for place in range(5):
        await life.send(NUMBER, f"{WORDS} {place}", idempotency_key=f"{place}")
    id = await life.ask_to_erase(NUMBER)
    assert await run_erasure_step(life.pipeline.worker, life.pipeline.sealer, life.pipeline.hub, PERSONAL_DATA, batch=2)
    assert (await life.erasure(id)).messages == 2
    done = await life.erase(NUMBER)
    assert (done.id, done.messages) == (id, 5)


async def test_who_asked_and_that_it_was_done_is_in_the_audit_log(life: Life) -> None:
    erasure = await life.erase(NUMBER)
    [row] = await life.owner.fetch("SELECT * FROM audit_events")
    assert (row["kind"], row["action"], row["target_id"]) == ("SYSTEM", "eraseRecipient", str(erasure.id))


async def test_names_are_found_in_other_digits_and_as_forms_write_them(life: Life) -> None:
    full_width = NUMBER.translate({ord("0") + n: 0xFF10 + n for n in range(10)})
    arabic = NUMBER.translate({ord("0") + n: 0x660 + n for n in range(10)})
    form = f"+55%2011%20{NUMBER[5:10]}-{NUMBER[10:]}"
    names = (full_width, arabic, f"%2B{NUMBER[1:]}", form)
    mails = (MAIL.replace("@", "%40"), MAIL.replace("@", "\uff20"))
    for name in (*names, *mails, OTHER_NUMBER):
        await life.send(OTHER_NUMBER, OTHER_WORDS, external_id=name)
    assert (await life.erase(NUMBER)).names == len(names)
    assert (await life.erase(MAIL)).names == len(mails)
    left = [row["external_id"] for row in await life.owner.fetch("SELECT external_id FROM external_ids")]
    assert [one for one in left if not one.startswith("erased-")] == [OTHER_NUMBER]


async def test_names_in_base64_are_found_wherever_callers_may_choose_one(life: Life) -> None:
    def encoded(text: str, padding: bool = True) -> str:
        written = b64encode(text.encode()).decode()
        return written if padding else written.rstrip("=")

    mine = [
        wamid(NUMBER, "H" * 18),
        encoded(NUMBER),
        encoded(f"tel:{OLD_NUMBER}", padding=False),
        f"ref={encoded(f'cliente (11) {NUMBER[5:10]}-{NUMBER[10:]}')};v1",
        encoded(f"\x00\\{NUMBER[1:]}\xff"),
    ]
    mails = [f"m.{encoded(f'<{MAIL.upper()}>')}"]
    # Another number, another mailbox, a longer row of digits, what only looks like base64, and a length of no base64.
    others = [wamid(OTHER_NUMBER, "I" * 18), encoded(f"{MAIL}.br"), encoded(f"{NUMBER[1:]}4321"), "a" * 32, "b" * 17]
    for name in (*mine, *mails, *others):
        await life.send(OTHER_NUMBER, OTHER_WORDS, external_id=name, idempotency_key=name)
    for name in (mine[0], mails[0], others[0]):
        batch = "INSERT INTO message_batches (tenant_id, id, name) VALUES ($1, $2, $3)"
        await life.owner.execute(batch, DEFAULT_TENANT, uuid7(), name)
    key = await life.listed(OTHER_NUMBER)
    await life.owner.execute("UPDATE api_keys SET name = $1 WHERE id = $2", mine[1], key)
    assert (await life.erase(NUMBER)).names == 2 * len(mine) + 2
    assert (await life.erase(MAIL)).names == 2 * len(mails) + 1
    for table in ("external_ids", "messages"):
        left = {row["external_id"] for row in await life.owner.fetch(f"SELECT external_id FROM {table}")}
        assert {one for one in left if not one.startswith("erased-")} == set(others), table
    assert {row["key"] for row in await life.owner.fetch("SELECT key FROM idempotency_keys")} == set(others)
    batches = [row["name"] for row in await life.owner.fetch("SELECT name FROM message_batches ORDER BY id")]
    assert batches == [None, None, others[0]]
    assert await life.owner.fetchval("SELECT name FROM api_keys") == f"erased-{key}"


async def test_more_names_than_one_statement_reads_are_searched_page_by_page(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(person, "NAMES_AT_ONCE", 3)
    # The last page is full, and one is without the person.
    for place in range(9):
        name = f"{place} {NUMBER if place in (0, 2, 7, 8) else OTHER_NUMBER}"
        await life.send(OTHER_NUMBER, OTHER_WORDS, external_id=name, idempotency_key=name)
    assert (await life.erase(NUMBER)).names == 8
    left = await life.owner.fetch("SELECT external_id AS name FROM external_ids UNION SELECT key FROM idempotency_keys")
    kept = sorted(row["name"] for row in left if not row["name"].startswith("erased-"))
    assert kept == [f"{place} {OTHER_NUMBER}" for place in (1, 3, 4, 5, 6)]


async def test_an_erased_recipient_can_be_written_to_again(life: Life) -> None:
    await life.erase(NUMBER)
    assert await life.pipeline.status(await life.send(NUMBER, WORDS)) == "QUEUED"


async def test_ids_that_survive_an_erasure_identify_no_person(life: Life) -> None:
    """As the version before let them be: an API key named after a number, and a request's id that is one."""
    kept = await life.send(OTHER_NUMBER, OTHER_WORDS)
    gone = await life.send(NUMBER, WORDS)
    key = await life.listed(OTHER_NUMBER)
    digits = NUMBER.removeprefix("+")
    await life.owner.execute("UPDATE api_keys SET name = $1 WHERE id = $2", f"Celular {NUMBER}", key)
    given = "UPDATE messages SET made_by = made_by || jsonb_build_object('requestId', $1::text)"
    await life.owner.execute(f"{given} WHERE id = $2", f"req-{digits}", gone)
    await life.owner.execute(f"{given} WHERE id = $2", "trace-1", kept)
    assert (await life.erase(NUMBER)).names == 1
    assert await life.owner.fetchval("SELECT name FROM api_keys") == f"erased-{key}"
    found = dict(await life.owner.fetch("SELECT id, made_by ->> 'requestId' FROM messages"))
    assert found == {kept: "trace-1", gone: None}
    assert await found_anywhere(life.owner, life.redis, life.pipeline.sealer, NEEDLES) == []
