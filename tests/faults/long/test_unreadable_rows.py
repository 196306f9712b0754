"""Messages, reports and jobs that cannot be read delay no others."""

from pathlib import Path

from redis.asyncio import Redis

from core.sealing import Sealer
from tests.faults.evidence import gather_evidence, wait_until_quiet
from tests.faults.invariants import breaches
from tests.faults.steps import count_statuses, send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.helpers import until

NUMBER = 10


async def test_unreadable_messages_wait_and_the_others_are_delivered(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as system:
        for worker in system.workers:
            await worker.kill()
        traffic = sms_traffic(system, "unreadable")
        await send(traffic, 3 * NUMBER)
        ids = [accepted.message_id for accepted in traffic.accepted]
        torn, empty = ids[: NUMBER // 2], ids[NUMBER // 2 : NUMBER]
        whole = await system.stores.fetch("SELECT id, content_sealed FROM messages WHERE id = ANY($1)", torn + empty)
        await system.stores.execute("UPDATE messages SET content_sealed = 'torn' WHERE id = ANY($1)", torn)
        for message_id in empty:
            # Sealed correctly, with content of an unknown version.
            place = {"tenant": system.tenants[0], "row": message_id}
            sealed = Sealer({"k1": b"k" * 32}).seal('{"kind": "hologram"}', column="content", **place)
            await system.stores.execute("UPDATE messages SET content_sealed = $1 WHERE id = $2", sealed, message_id)
        for worker in system.workers:
            await worker.start()
        await until(lambda: with_status(system, "DELIVERED"), lambda found: found == 2 * NUMBER, 60)
        # The unreadable messages were not begun and have not failed: they wait until they can be read.
        untouched = "SELECT count(*) FROM messages WHERE status = 'QUEUED' AND attempt_count = 0"
        assert (await system.stores.fetch(untouched))[0][0] == NUMBER
        for row in whole:
            mended = "UPDATE messages SET content_sealed = $1, due_at = now() WHERE id = $2"
            await system.stores.execute(mended, row["content_sealed"], row["id"])
        await wait_until_quiet(system, 60)
        evidence = await gather_evidence(system, traffic)
        assert breaches(evidence) == {}
        assert count_statuses(evidence) == {"DELIVERED": 3 * NUMBER}


async def test_unreadable_reports_become_dead_letters_and_the_others_are_applied(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "unreadable reports")
        for number in range(NUMBER):
            await system.stores.execute(
                "INSERT INTO inbox (tenant_id, id, integration, dedupe_key, event_type, event_sealed, raw_sealed)"
                " VALUES ($1, gen_random_uuid(), 'twilio', $2, 'message.delivered', 'torn', 'torn')",
                system.tenants[0],
                f"unreadable-{number}",
            )
        await send(traffic, NUMBER)
        await until(lambda: failed_without_pauses(system), lambda found: found == NUMBER, 60)
        await wait_until_quiet(system, 60)
        evidence = await gather_evidence(system, traffic)
        assert [row["status"] for row in evidence.unread] == ["FAILED"] * NUMBER
        evidence.unread.clear()
        assert breaches(evidence) == {}
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}


async def with_status(system: SystemUnderTest, status: str) -> int:
    [row] = await system.stores.fetch("SELECT count(*) FROM messages WHERE status = $1", status)
    return int(row[0])


async def failed_without_pauses(system: SystemUnderTest) -> int:
    """Count the reports that have failed for good; the pauses of 15 minutes between their tries are skipped."""
    await system.stores.execute("UPDATE inbox SET due_at = now() WHERE status = 'RECEIVED' AND attempts > 0")
    [row] = await system.stores.fetch("SELECT count(*) FROM inbox WHERE status = 'FAILED'")
    return int(row[0])


async def test_jobs_of_another_version_are_ignored(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "strange jobs")
        assert system.stores.valkey.urls is not None
        async with Redis.from_url(system.stores.valkey.urls.redis) as redis:
            for number, job in enumerate(('{"function": "dance", "kwargs": {}}', "not json", '{"function": "wake"}')):
                key = f"saq:job:interalpha:strange-{number}"
                await redis.set(key, job)
                await redis.rpush("saq:interalpha:queued", key)
        await send(traffic, NUMBER)
        await wait_until_quiet(system, 60)
        evidence = await gather_evidence(system, traffic)
        assert breaches(evidence) == {}
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}
