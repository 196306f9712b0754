"""Group commit of accepted messages: concurrent callers share one transaction and fail independently."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import event, text

from core.database import Database, make_engine
from core.errors import CommitUnknown, IdempotencyConflict, InvalidInput, Overloaded
from core.messages.accept import Accepted
from core.messages.status import MessageStatus, make_step
from core.messages.store import STORE_LIMITS, AlreadyStored, Outcome, SealedMessage, Stored, StoreQueue, store_messages
from core.messages.validation import Draft, Referenced, check_draft
from core.ports import Channel, TextContent
from core.ports.identity import DEFAULT_TENANT
from core.pubsub import Change
from tests.databases import Urls
from tests.delivery.pipeline import MessagePipeline
from tests.delivery.round_trips import round_trips

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def draft(key: str | None = None, body: str = "Olá", external_id: str | None = None) -> Draft:
    route = [make_step(Channel.SMS)]
    return Draft(TextContent(body), route, phone="+5511987654321", idempotency_key=key, external_id=external_id)


async def member(pipeline: MessagePipeline, tenant: UUID = DEFAULT_TENANT, **given: str) -> SealedMessage:
    return (
        await pipeline.outbox.prepare(tenant, check_draft(draft(**given), pipeline.outbox.channels, Referenced()))
    ).sealed


async def accept(pipeline: MessagePipeline, *drafts: Draft) -> list[Accepted | BaseException]:
    waiting = (pipeline.outbox.accept(DEFAULT_TENANT, one) for one in drafts)
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_many_at_once_share_a_transaction(pipeline: MessagePipeline) -> None:
    async with round_trips(pipeline.app) as seen:
        answers = await accept(pipeline, *(draft(f"order-{number}") for number in range(100)))
    assert len({answer.message_id for answer in answers if isinstance(answer, Accepted)}) == 100
    assert await pipeline.count("messages") == await pipeline.count("message_events") == 100
    assert await pipeline.count("idempotency_keys") == 100
    # To begin, to store, to commit: for all hundred of them.
    assert len(seen) == 3
    assert len(pipeline.woken) == 1


@pytest.mark.parametrize("size", [1, 2, 50, 200])
async def test_a_group_costs_three_round_trips_regardless_of_its_size(pipeline: MessagePipeline, size: int) -> None:
    members = [await member(pipeline, key=f"order-{number}", external_id=f"E{number}") for number in range(size)]
    async with round_trips(pipeline.app) as seen:
        outcomes = await store_messages(pipeline.app, members)
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert len(seen) == 3
    async with round_trips(pipeline.app) as seen:
        # The same once more: one further statement reads what was made before.
        assert await store_messages(pipeline.app, members) == [AlreadyStored(one.message_id) for one in members]
    assert len(seen) == 4


async def test_a_group_can_do_without_prepared_statements(pipeline: MessagePipeline, urls: Urls) -> None:
    # As behind a PgBouncer that knows none.
    pooled = Database(make_engine(urls.app, prepared_statements=False))
    members = [await member(pipeline, key=f"order-{number}", external_id=f"E{number}") for number in range(3)]
    assert [type(outcome) for outcome in await store_messages(pooled, members)] == [Stored] * 3
    assert [type(outcome) for outcome in await store_messages(pooled, members)] == [AlreadyStored] * 3
    await pooled.close()


async def test_one_hint_goes_out_for_a_whole_group(pipeline: MessagePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Sequence[Change]] = []

    async def publish(changes: Sequence[Change]) -> None:
        published.append(changes)

    monkeypatch.setattr(pipeline.hub, "publish", publish)
    answers = await accept(pipeline, *(draft() for _ in range(60)))
    await asyncio.sleep(0)
    [changes] = published
    assert {change.id for change in changes} == {answer.message_id for answer in answers}


async def test_one_poisoned_among_fifty_fails_alone(pipeline: MessagePipeline) -> None:
    # The tenant it names is gone: the database refuses the whole statement.
    poisoned = uuid4()
    tenants = [poisoned if number == 17 else DEFAULT_TENANT for number in range(50)]
    waiting = (pipeline.outbox.accept(tenant, draft(f"order-{number}")) for number, tenant in enumerate(tenants))
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    failed = [number for number, answer in enumerate(answers) if not isinstance(answer, Accepted)]
    assert failed == [17]
    assert isinstance(answers[17], asyncpg.ForeignKeyViolationError)
    assert await pipeline.count("messages") == await pipeline.count("idempotency_keys") == 49


async def test_a_lock_that_is_held_elsewhere_delays_its_own_member_alone(pipeline: MessagePipeline, urls: Urls) -> None:
    holder = await asyncpg.connect(urls.app)
    held = holder.transaction()
    await held.start()
    await holder.execute("SELECT set_config('app.tenants', $1, true)", str(DEFAULT_TENANT))
    await holder.execute(
        "INSERT INTO idempotency_keys (tenant_id, key, operation, request_hash, resource_id, expires_at)"
        " VALUES ($1, 'held', 'sendMessage', '', $1, now() + interval '1 day')",
        DEFAULT_TENANT,
    )
    waiting = asyncio.create_task(pipeline.outbox.accept(DEFAULT_TENANT, draft("held")))
    answers = await accept(pipeline, *(draft(f"order-{number}") for number in range(20)))
    assert all(isinstance(answer, Accepted) for answer in answers)
    assert not waiting.done()
    await held.rollback()
    await holder.close()
    assert (await waiting).is_replay is False
    assert await pipeline.count("messages") == 21


async def test_a_caller_that_disconnects_cancels_no_other(pipeline: MessagePipeline) -> None:
    calls = [asyncio.create_task(pipeline.outbox.accept(DEFAULT_TENANT, draft(f"order-{n}"))) for n in range(10)]
    twin = asyncio.create_task(pipeline.outbox.accept(DEFAULT_TENANT, draft("order-3")))
    await asyncio.sleep(0)
    calls[3].cancel()
    answers = await asyncio.gather(*calls, twin, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Accepted] * 3 + [asyncio.CancelledError] + [Accepted] * 7
    # The template they shared is available to the twin, whichever asked first.
    assert await pipeline.count("messages") == 10


async def test_the_first_to_ask_may_go_and_the_second_is_still_answered(pipeline: MessagePipeline) -> None:
    stored = asyncio.Event()

    async def commit(members: Sequence[SealedMessage]) -> Sequence[Outcome]:
        await stored.wait()
        return await store_messages(pipeline.app, members)

    async def announce(_: Sequence[tuple[SealedMessage, Stored]]) -> None:
        return None

    queue, same = StoreQueue(commit, announce), await member(pipeline, key="order-1")
    first, second = (asyncio.create_task(queue.submit(same)) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    stored.set()
    assert await second == AlreadyStored(same.message_id)
    assert await pipeline.count("messages") == 1


async def test_a_lost_commit_is_never_taken_for_a_success(pipeline: MessagePipeline, urls: Urls) -> None:
    members = [await member(pipeline, key=f"order-{number}") for number in range(5)]
    await _break_commits(urls)
    try:
        outcomes = await store_messages(pipeline.app, members)
    finally:
        await _mend_commits(urls)
    assert [type(outcome) for outcome in outcomes] == [CommitUnknown] * 5
    assert all("same idempotency key" in str(outcome) for outcome in outcomes)
    # They were rolled back, or not; repeating them with their keys makes one of each.
    again = await store_messages(pipeline.app, members)
    assert all(isinstance(outcome, Stored | AlreadyStored) for outcome in again)
    assert await pipeline.count("messages") == 5


async def _break_commits(urls: Urls) -> None:
    """Let the server end the connection in the middle of the next commit of a message."""
    owner, root = await asyncpg.connect(urls.direct), await asyncpg.connect(urls.superuser)
    await root.execute("GRANT pg_signal_backend TO interalpha_migrate")
    await owner.execute("""
        CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER die AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION die();
    """)
    await owner.close()
    await root.close()


async def _mend_commits(urls: Urls) -> None:
    owner = await asyncpg.connect(urls.direct)
    await owner.execute("DROP TRIGGER die ON messages; DROP FUNCTION die()")
    await owner.close()


async def test_equal_keys_wait_for_the_first_of_them_in_the_process(pipeline: MessagePipeline) -> None:
    async with round_trips(pipeline.app) as seen:
        answers = await accept(pipeline, *(draft("order-1") for _ in range(50)))
    assert sorted(answer.is_replay for answer in answers if isinstance(answer, Accepted)) == [False] + [True] * 49
    assert len(seen) == 3


async def test_an_equal_key_with_other_input_is_a_conflict_in_the_same_moment(pipeline: MessagePipeline) -> None:
    first, second = await accept(pipeline, draft("order-1"), draft("order-1", body="Outra coisa"))
    assert isinstance(first, Accepted)
    assert isinstance(second, IdempotencyConflict)
    assert await pipeline.count("messages") == 1


async def test_a_key_that_is_taken_undoes_the_external_id_it_came_with(pipeline: MessagePipeline) -> None:
    await accept(pipeline, draft("order-1"))
    outcomes = await accept(pipeline, draft("order-1", external_id="E1"), *(draft(f"other-{n}") for n in range(5)))
    assert [type(outcome) for outcome in outcomes] == [IdempotencyConflict] + [Accepted] * 5
    assert await pipeline.count("external_ids") == 0


async def test_two_processes_at_once_make_one_message_of_one_key(
    pipeline: MessagePipeline, app_database: Database
) -> None:
    one, other = await member(pipeline, key="order-1"), await member(pipeline, key="order-1")
    first, second = await asyncio.gather(store_messages(pipeline.app, [one]), store_messages(app_database, [other]))
    assert {type(outcome) for outcome in (*first, *second)} == {Stored, AlreadyStored}
    assert await pipeline.count("messages") == 1


class Recorder:
    """Commits in memory, when the gate is open; `sizes` and `tenants` record how groups were made."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.groups: list[list[UUID]] = []

    async def commit(self, members: Sequence[SealedMessage]) -> Sequence[Outcome]:
        self.groups.append([one.tenant_id for one in members])
        await self.gate.wait()
        return [Stored(MessageStatus.QUEUED, NOON, NOON, None, None) for _ in members]

    async def announce(self, _: Sequence[tuple[SealedMessage, Stored]]) -> None:
        return None


async def test_at_most_two_groups_are_under_way_and_tenants_take_turns(pipeline: MessagePipeline) -> None:
    recorder = Recorder()
    queue, noisy, quiet = StoreQueue(recorder.commit, recorder.announce), uuid4(), uuid4()
    tasks = []
    for _ in range(2):
        tasks.append(asyncio.create_task(queue.submit(await member(pipeline, noisy))))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    many = [await member(pipeline, noisy) for _ in range(STORE_LIMITS.items)]
    tasks += [asyncio.create_task(queue.submit(one)) for one in many]
    tasks.append(asyncio.create_task(queue.submit(await member(pipeline, quiet))))
    await asyncio.sleep(0.01)
    assert [len(group) for group in recorder.groups] == [1, 1]
    recorder.gate.set()
    await asyncio.gather(*tasks)
    # Two hundred were before it, and it is the second to be taken.
    assert recorder.groups[2][:2] == [noisy, quiet]
    assert [len(group) for group in recorder.groups] == [1, 1, STORE_LIMITS.items, 1]


async def test_a_full_queue_says_come_back(pipeline: MessagePipeline) -> None:
    recorder, limits = Recorder(), replace(STORE_LIMITS, waiting=3)
    queue, one = StoreQueue(recorder.commit, recorder.announce, limits), await member(pipeline)
    tasks = [asyncio.create_task(queue.submit(one)) for _ in range(4)]
    answers = asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.01)
    recorder.gate.set()
    outcomes = await answers
    assert [type(outcome) for outcome in outcomes] == [Stored] * 3 + [Overloaded]
    assert outcomes[3].retry_after == 1


async def test_a_tenant_that_did_not_fill_the_queue_is_still_accepted(pipeline: MessagePipeline) -> None:
    recorder, noisy, quiet = Recorder(), uuid4(), uuid4()
    queue = StoreQueue(recorder.commit, recorder.announce, replace(STORE_LIMITS, waiting=4))
    callers = [noisy] * 5 + [quiet] * 3
    members = [await member(pipeline, tenant) for tenant in callers]
    answers = asyncio.gather(*(queue.submit(one) for one in members), return_exceptions=True)
    await asyncio.sleep(0.01)
    recorder.gate.set()
    # The noisy one holds all there is; of two, each may hold half of it.
    assert [type(outcome) for outcome in await answers] == [Stored] * 4 + [Overloaded] + [Stored] * 2 + [Overloaded]


async def test_a_heavy_group_is_full_before_it_has_many_members(pipeline: MessagePipeline) -> None:
    recorder, limits = Recorder(), replace(STORE_LIMITS, weight=10)
    recorder.gate.set()
    queue, one = StoreQueue(recorder.commit, recorder.announce, limits), await member(pipeline)
    await asyncio.gather(*(queue.submit(one) for _ in range(6)))
    assert [len(group) for group in recorder.groups] == [1] * 6


async def test_a_group_that_ends_with_the_server_claims_nothing(pipeline: MessagePipeline) -> None:
    recorder = Recorder()
    queue = StoreQueue(recorder.commit, recorder.announce)
    call = asyncio.create_task(queue.submit(await member(pipeline)))
    await asyncio.sleep(0.01)
    for task in queue._queue._tasks:
        task.cancel()
    with pytest.raises(CommitUnknown, match="same idempotency key"):
        await call


async def test_a_failed_announcement_loses_no_message(pipeline: MessagePipeline) -> None:
    async def announce(_: Sequence[tuple[SealedMessage, Stored]]) -> None:
        raise RuntimeError("nobody hears")

    recorder = Recorder()
    recorder.gate.set()
    queue = StoreQueue(recorder.commit, announce)
    for _ in range(3):
        assert isinstance(await queue.submit(await member(pipeline)), Stored)


async def test_a_database_that_is_away_is_not_asked_for_each_member(pipeline: MessagePipeline) -> None:
    members = [await member(pipeline) for _ in range(20)]
    away = Database(make_engine("postgresql://app@127.0.0.1:9/app"))
    tried: list[object] = []
    event.listen(away.engine.sync_engine, "do_connect", lambda *_: tried.append(None))
    outcomes = await store_messages(away, members)
    await away.close()
    assert [type(outcome) for outcome in outcomes] == [Overloaded] * 20
    assert len(tried) == 1


async def test_an_external_id_taken_twice_at_once_makes_exactly_one_message(pipeline: MessagePipeline) -> None:
    answers = await accept(pipeline, *(draft(external_id="E1", body=f"Olá {n}") for n in range(10)))
    refused = [answer for answer in answers if isinstance(answer, InvalidInput)]
    assert len(refused) == 9
    assert {(error.path, error.rule) for error in refused} == {(("input", "externalId"), "NOT_ALLOWED")}
    assert await pipeline.count("messages") == await pipeline.count("external_ids") == 1


async def test_an_external_id_is_taken_for_good_and_a_replay_is_no_second_use(pipeline: MessagePipeline) -> None:
    first = await pipeline.outbox.accept(DEFAULT_TENANT, draft("order-1", external_id="E1"))
    again = await pipeline.outbox.accept(DEFAULT_TENANT, draft("order-1", external_id="E1"))
    assert (again.message_id, again.is_replay) == (first.message_id, True)
    with pytest.raises(InvalidInput, match="'E1' already belongs to a message of 20") as refused:
        await pipeline.outbox.accept(DEFAULT_TENANT, draft("order-2", external_id="E1"))
    assert refused.value.path == ("input", "externalId")
    # Its key was not used up by what was refused.
    assert not (await pipeline.outbox.accept(DEFAULT_TENANT, draft("order-2"))).is_replay
    async with pipeline.app.transaction(DEFAULT_TENANT) as connection:
        await connection.execute(text("UPDATE idempotency_keys SET expires_at = now()"))
    with pytest.raises(InvalidInput, match="'E1'"):
        await pipeline.outbox.accept(DEFAULT_TENANT, draft("order-1", external_id="E1"))
