"""F23: what nobody can read or do ends visibly, and holds up nobody beside it."""

from pathlib import Path

from redis.asyncio import Redis

from core.sealing import Sealer
from tests.faults.evidence import gather_evidence, wait_until_quiet
from tests.faults.invariants import breaches
from tests.faults.steps import count_statuses, send, sms_traffic
from tests.faults.system import Plan, SystemUnderTest, system_under_test
from tests.helpers import until

NUMBER = 10


async def test_poisoned_messages_fail_and_their_neighbours_arrive(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=2)) as city:
        for worker in city.workers:
            await worker.kill()
        traffic = sms_traffic(city, "poison")
        await send(traffic, 3 * NUMBER)
        ids = [acked.message_id for acked in traffic.acked]
        torn, empty = ids[: NUMBER // 2], ids[NUMBER // 2 : NUMBER]
        whole = await city.cellar.fetch("SELECT id, content_sealed FROM messages WHERE id = ANY($1)", torn + empty)
        await city.cellar.execute("UPDATE messages SET content_sealed = 'torn' WHERE id = ANY($1)", torn)
        for message_id in empty:
            # Sealed as it should be, and written by a version that nobody here knows.
            place = {"tenant": city.tenants[0], "row": message_id}
            sealed = Sealer({"k1": b"k" * 32}).seal('{"kind": "hologram"}', column="content", **place)
            await city.cellar.execute("UPDATE messages SET content_sealed = $1 WHERE id = $2", sealed, message_id)
        for worker in city.workers:
            await worker.start()
        await until(lambda: with_status(city, "DELIVERED"), lambda found: found == 2 * NUMBER, 60)
        # Nothing was begun for what nobody can read, and nothing of it has failed: it waits until it can be read.
        untouched = "SELECT count(*) FROM messages WHERE status = 'QUEUED' AND attempt_count = 0"
        assert (await city.cellar.fetch(untouched))[0][0] == NUMBER
        for row in whole:
            mended = "UPDATE messages SET content_sealed = $1, due_at = now() WHERE id = $2"
            await city.cellar.execute(mended, row["content_sealed"], row["id"])
        await wait_until_quiet(city, 60)
        evidence = await gather_evidence(city, traffic)
        assert breaches(evidence) == {}
        assert count_statuses(evidence) == {"DELIVERED": 3 * NUMBER}


async def test_poisoned_reports_are_parked_and_their_neighbours_applied(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, "poisoned reports")
        for number in range(NUMBER):
            await city.cellar.execute(
                "INSERT INTO inbox (tenant_id, id, integration, dedupe_key, event_type, event_sealed, raw_sealed)"
                " VALUES ($1, gen_random_uuid(), 'twilio', $2, 'message.delivered', 'torn', 'torn')",
                city.tenants[0],
                f"poison-{number}",
            )
        await send(traffic, NUMBER)
        await until(lambda: parked_without_pauses(city), lambda found: found == NUMBER, 60)
        await wait_until_quiet(city, 60)
        evidence = await gather_evidence(city, traffic)
        assert [row["status"] for row in evidence.unread] == ["FAILED"] * NUMBER
        evidence.unread.clear()
        assert breaches(evidence) == {}
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}


async def with_status(city: SystemUnderTest, status: str) -> int:
    [row] = await city.cellar.fetch("SELECT count(*) FROM messages WHERE status = $1", status)
    return int(row[0])


async def parked_without_pauses(city: SystemUnderTest) -> int:
    """How many reports were given up; the pauses between their tries, a quarter of an hour, are skipped."""
    await city.cellar.execute("UPDATE inbox SET due_at = now() WHERE status = 'RECEIVED' AND attempts > 0")
    [row] = await city.cellar.fetch("SELECT count(*) FROM inbox WHERE status = 'FAILED'")
    return int(row[0])


async def test_a_wake_up_from_another_version_disturbs_nobody(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, "strange jobs")
        assert city.cellar.valkey.urls is not None
        async with Redis.from_url(city.cellar.valkey.urls.redis) as redis:
            for number, job in enumerate(('{"function": "dance", "kwargs": {}}', "not json", '{"function": "wake"}')):
                key = f"saq:job:interalpha:strange-{number}"
                await redis.set(key, job)
                await redis.rpush("saq:interalpha:queued", key)
        await send(traffic, NUMBER)
        await wait_until_quiet(city, 60)
        evidence = await gather_evidence(city, traffic)
        assert breaches(evidence) == {}
        assert count_statuses(evidence) == {"DELIVERED": NUMBER}
