"""A process that lacks a key: rows sealed under it wait for a process that has it, and are shown as unreadable.

So are altered rows. Neither is ever FAILED, and neither delays others.
"""

import pytest
from structlog.testing import capture_logs

from core import liveness
from core.access.directory import Profile, open_profile, seal_profile
from core.ids import uuid7
from core.messages import queries
from core.messages.queries import MessageFilter
from core.pagination import PageRequest
from core.ports import ReportedStatus, StatusReport
from core.ports.identity import DEFAULT_TENANT
from core.privacy.encryption_keys import count_waiting_for_keys, log_missing_keys, record_missing_keys
from core.problems.queries import Problem, ProblemFilter, problems_page
from core.problems.tables import OPERATOR
from core.sealing import KeyMissing, Sealer
from tests.contributed import PERSONAL_DATA
from tests.privacy.conftest import NUMBER, WORDS, Life

OLD, NEW = b"k" * 32, b"n" * 32
ALTERED = "UPDATE messages SET {column} = set_byte({column}, octet_length({column}) - 1, 0) WHERE id = $1"


def sealer(life: Life, **keys: bytes) -> Sealer:
    """A process with these keys; the secret of look-ups was read before they changed."""
    made = Sealer(keys)
    made.hash_ids_with(life.pipeline.sealer._id_secret)  # type: ignore[arg-type]
    return made


@pytest.fixture
def turned(life: Life) -> Sealer:
    """A process that seals with the new key already."""
    return sealer(life, k2=NEW, k1=OLD)


async def page(life: Life, by: Sealer) -> list[queries.Message]:
    async with life.pipeline.app.transaction(DEFAULT_TENANT) as connection:
        found = await queries.messages_page(
            connection, by, DEFAULT_TENANT, PageRequest(10), MessageFilter(), sealed=("content", "to", "from")
        )
    return list(found.items)


async def test_a_worker_without_the_key_leaves_a_message_to_one_that_has_it(life: Life, turned: Sealer) -> None:
    pipeline = life.pipeline
    pipeline.outbox.sealer = turned
    under_new = await life.send(NUMBER, WORDS)
    pipeline.outbox.sealer = pipeline.sealer
    under_old = await life.send(NUMBER, WORDS)
    await life.deliver()
    assert [await pipeline.status(one) for one in (under_old, under_new)] == ["SENT", "QUEUED"]
    row = await life.owner.fetchrow("SELECT * FROM messages WHERE id = $1", under_new)
    assert (row["attempt_count"], row["lease_until"]) == (0, None)
    assert row["due_at"] <= row["created_at"], "it is due for whoever has the key, without a delay"
    assert [event.status.value for event in await pipeline.events(under_new)] == ["QUEUED"]
    pipeline.sealer = turned
    await life.deliver()
    assert await pipeline.status(under_new) == "SENT"


@pytest.mark.parametrize("column", ["to_sealed", "content_sealed"])
async def test_an_altered_row_waits_and_delays_no_other(life: Life, column: str) -> None:
    broken, sound = await life.send(NUMBER, WORDS), await life.send(NUMBER, WORDS)
    await life.owner.execute(ALTERED.format(column=column), broken)
    with capture_logs() as logs:
        await life.deliver()
    assert [await life.pipeline.status(one) for one in (broken, sound)] == ["QUEUED", "SENT"]
    [line] = [one for one in logs if one["event"] == "message_unreadable" and "advice" in one]
    assert (line["message_id"], "altered" in line["reason"]) == (str(broken), True)
    row = await life.owner.fetchrow(
        "SELECT *, due_at - now() > interval '30 s' AS waits FROM messages WHERE id = $1", broken
    )
    assert (row["attempt_count"], row["lease_until"], row["waits"]) == (0, None, True)
    assert await life.owner.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_a_key_of_the_same_name_and_another_value_fails_nothing(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    right, life.pipeline.sealer = life.pipeline.sealer, sealer(life, k1=NEW)
    await life.deliver()
    life.pipeline.sealer = right
    assert await life.pipeline.status(one) == "QUEUED"
    await life.owner.execute("UPDATE messages SET due_at = now()")
    await life.deliver()
    assert await life.pipeline.status(one) == "SENT"


async def test_a_page_shows_what_it_can_and_says_what_it_cannot(life: Life, turned: Sealer) -> None:
    life.pipeline.outbox.sealer = turned
    closed = await life.send(NUMBER, WORDS)
    life.pipeline.outbox.sealer = life.pipeline.sealer
    broken, sound = await life.send(NUMBER, WORDS), await life.send(NUMBER, WORDS)
    await life.owner.execute(ALTERED.format(column="content_sealed"), broken)
    shown = {one.id: one for one in await page(life, life.pipeline.sealer)}
    assert shown.keys() == {closed, broken, sound}
    assert shown[closed].unreadable == {"content": "k2", "to": "k2"}
    assert shown[broken].unreadable == {"content": None}
    assert (shown[broken].to, shown[broken].content) == (NUMBER, None)
    assert shown[sound].unreadable == {}
    assert shown[sound].content is not None


async def test_an_event_under_a_missing_key_waits_without_losing_a_try(life: Life, turned: Sealer) -> None:
    message = await life.send(NUMBER, WORDS)
    await life.deliver()
    old, life.pipeline.sealer = life.pipeline.sealer, turned
    report = StatusReport(
        "one", "delivered", "{}", status=ReportedStatus.DELIVERED, reference=life.reported("x", "", message).reference
    )
    await life.told("twilio", report)
    life.pipeline.sealer = old
    await life.apply()
    row = await life.owner.fetchrow("SELECT status, attempts FROM inbox")
    assert (row["status"], row["attempts"]) == ("RECEIVED", 0)
    life.pipeline.sealer = turned
    await life.apply()
    assert await life.pipeline.status(message) == "DELIVERED"


async def test_an_erasure_passes_nothing_that_another_process_can_read(life: Life, turned: Sealer) -> None:
    old, life.pipeline.sealer = life.pipeline.sealer, turned
    await life.nobody_asked(f'{{"from":"{NUMBER}"}}', "key")
    life.pipeline.sealer = old
    erasure = await life.erase(NUMBER)
    assert erasure.finished_at is None, "what it cannot read may name them"
    life.pipeline.sealer = turned
    await life.owner.execute("UPDATE erasures SET due_at = now()")
    assert (await life.erase(NUMBER)).id == erasure.id
    assert (await life.erasure(erasure.id)).finished_at is not None
    assert await life.owner.fetchval("SELECT count(*) FROM inbox WHERE raw_sealed IS NOT NULL") == 0


async def test_an_erasure_under_a_missing_key_waits_for_a_worker_that_has_it(life: Life, turned: Sealer) -> None:
    old, life.pipeline.sealer = life.pipeline.sealer, turned
    id = await life.ask_to_erase(NUMBER)
    life.pipeline.sealer = old
    assert (await life.erase("+5511900000001")).finished_at is not None
    row = await life.owner.fetchrow("SELECT due_at <= now() AS is_due, finished_at FROM erasures WHERE id = $1", id)
    assert (row["is_due"], row["finished_at"]) == (True, None)


async def test_a_worker_that_cannot_read_the_secret_of_look_ups_sends_nothing_and_says_why(life: Life) -> None:
    one = await life.send(NUMBER, WORDS)
    life.pipeline.sealer = Sealer({"k2": NEW})
    with pytest.raises(KeyMissing, match="'k1'"):
        await life.deliver()
    life.pipeline.sealer = Sealer({"k1": OLD})
    assert await life.pipeline.status(one) == "QUEUED"
    await life.deliver()
    assert await life.pipeline.status(one) == "SENT"


async def test_an_answer_to_what_cannot_be_named_goes_out_without_naming_it(life: Life, turned: Sealer) -> None:
    first = await life.send(NUMBER, WORDS)
    life.pipeline.sealer = turned
    await life.deliver()
    life.pipeline.sealer = sealer(life, k1=OLD)
    second = await life.send(NUMBER, WORDS)
    await life.owner.execute("UPDATE messages SET in_reply_to = $1 WHERE id = $2", first, second)
    await life.deliver()
    assert await life.pipeline.status(second) == "SENT"
    [view] = await life.pipeline.attempts(first)
    assert view.provider_message_id is None


def test_a_profile_that_cannot_be_read_lets_its_person_in_without_a_name() -> None:
    row = uuid7()
    sealed = seal_profile(Sealer({"k2": NEW}), row, Profile(name="Maria"))
    assert open_profile(Sealer({"k1": OLD}), row, sealed) == Profile()


async def test_what_waits_for_a_key_is_counted_said_and_shown_without_its_value(life: Life, turned: Sealer) -> None:
    old = life.pipeline.sealer
    life.pipeline.outbox.sealer = life.pipeline.sealer = turned
    await life.send(NUMBER, WORDS)
    await life.told("twilio", life.reported("x", "{}", None))
    await life.ask_to_erase(NUMBER)
    found = await count_waiting_for_keys(life.pipeline.worker, old, PERSONAL_DATA)
    assert found == {"k2": {"erasures": 1, "inbox": 1, "messages": 1}}
    assert await count_waiting_for_keys(life.pipeline.worker, turned, PERSONAL_DATA) == {}
    # What waits of a noun is known from the noun alone.
    assert await count_waiting_for_keys(life.pipeline.worker, old, []) == {"k2": {"erasures": 1, "inbox": 1}}
    with capture_logs() as logs:
        log_missing_keys(found)
    [line] = logs
    assert (line["event"], line["key"], line["messages"]) == ("key_missing", "k2", 1)
    await liveness.record_worker(life.pipeline.worker, "one", "0012")
    await liveness.record_missing_keys(life.pipeline.worker, "one", found)
    async with life.pipeline.app.transaction() as connection:
        assert await liveness.workers_missing_keys(connection) == [("one", "k2")]
    await liveness.record_missing_keys(life.pipeline.worker, "one", ())
    async with life.pipeline.app.transaction() as connection:
        assert await liveness.workers_missing_keys(connection) == []


async def test_a_missing_key_is_a_problem_until_no_live_worker_lacks_it(life: Life, turned: Sealer) -> None:
    life.pipeline.outbox.sealer = turned
    for _ in range(2):
        await life.send(NUMBER, WORDS)
    worker = life.pipeline.worker

    async def looked(name: str, by: Sealer) -> list[Problem]:
        """What is open after a worker has looked."""
        found = await count_waiting_for_keys(worker, by, PERSONAL_DATA)
        await liveness.record_worker(worker, name, "0039")
        await liveness.record_missing_keys(worker, name, found)
        await record_missing_keys(worker, found)
        async with worker.transaction(OPERATOR) as connection:
            problems, _ = await problems_page(connection, [OPERATOR], PageRequest(10), ProblemFilter())
        return list(problems)

    [problem] = await looked("old", life.pipeline.sealer)
    assert (problem.code, problem.detail) == ("ENCRYPTION_KEY_MISSING", "The key k2 is missing.")
    assert problem.extent is not None
    assert (problem.extent.number, problem.extent.unit) == (2, "rows")
    assert [one.count for one in await looked("new", turned)] == [1], "the other worker lacks it still"
    assert [one.count for one in await looked("old", life.pipeline.sealer)] == [2]
    assert await looked("old", turned) == []
