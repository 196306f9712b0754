"""Scheduled and expiring messages: all by the clock of the database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core.errors import InvalidInput, Refused
from core.messages.status import make_step
from core.messages.timeouts import apply_due_times
from core.messages.validation import Draft
from core.ports import Channel, TextContent
from core.ports.identity import DEFAULT_TENANT
from core.quiet_hours import QuietHours
from tests.delivery.pipeline import MessagePipeline

HOUR = timedelta(hours=1)


def draft(**given: Any) -> Draft:
    route = given.pop("route", [make_step(Channel.SMS)])
    return Draft(TextContent("Olá"), route, phone="+5511987654321", **given)


async def row(pipeline: MessagePipeline, message_id: object) -> Any:
    """The message's times, as seconds from the moment it was made."""
    since = ", ".join(
        f"round(extract(epoch FROM {name} - created_at))::int AS {name}"
        for name in ("send_at", "due_at", "expires_at", "step_until")
    )
    async with pipeline.worker.transaction() as connection:
        statement = text(f"SELECT status, {since} FROM messages WHERE id = :id")
        return (await connection.execute(statement, {"id": message_id})).one()


async def test_a_message_for_later_waits_and_is_queued_when_its_hour_comes(pipeline: MessagePipeline) -> None:
    accepted = await pipeline.outbox.accept(DEFAULT_TENANT, draft(send_after=HOUR))
    assert accepted.message is not None
    assert accepted.message.status == "SCHEDULED"
    assert accepted.message.next_attempt_at is None
    assert accepted.message.send_at == accepted.message.created_at + HOUR
    found = await row(pipeline, accepted.message_id)
    assert (found.status, found.send_at, found.due_at) == ("SCHEDULED", 3600, 3600)
    # No worker is woken for a message that is due in an hour.
    assert pipeline.woken == []
    assert await pipeline.delivery.drain() is None
    assert pipeline.sender.sent == []
    await pipeline.tamper("UPDATE messages SET due_at = now()")
    async with pipeline.worker.transaction() as connection:
        await apply_due_times(connection)
    assert await pipeline.statuses(accepted.message_id) == ["SCHEDULED", "QUEUED"]


async def test_what_is_shown_at_once_is_what_is_read_later(pipeline: MessagePipeline) -> None:
    route = [make_step(Channel.SMS)]
    for given in ({}, {"send_after": HOUR, "external_id": "E1"}, {"expires_in": HOUR, "route": route}):
        accepted = await pipeline.outbox.accept(DEFAULT_TENANT, draft(**given))
        assert accepted.message == await pipeline.message(accepted.message_id)


async def test_it_expires_so_long_after_its_hour(pipeline: MessagePipeline) -> None:
    at_once = await pipeline.outbox.accept(DEFAULT_TENANT, draft(expires_in=HOUR))
    later = await pipeline.outbox.accept(DEFAULT_TENANT, draft(send_after=2 * HOUR, expires_in=HOUR))
    assert (await row(pipeline, at_once.message_id)).expires_at == 3600
    assert (await row(pipeline, later.message_id)).expires_at == 3 * 3600


async def test_the_first_step_s_time_runs_from_its_hour_and_only_where_another_follows(
    pipeline: MessagePipeline,
) -> None:
    pipeline.outbox.channels = {**pipeline.outbox.channels, Channel.WHATSAPP: pipeline.outbox.channels[Channel.SMS]}
    route = [make_step(Channel.WHATSAPP, within=timedelta(minutes=5)), make_step(Channel.SMS)]
    at_once = await pipeline.outbox.accept(DEFAULT_TENANT, draft(route=route))
    later = await pipeline.outbox.accept(DEFAULT_TENANT, draft(route=route, send_after=HOUR))
    alone = await pipeline.outbox.accept(DEFAULT_TENANT, draft())
    assert (await row(pipeline, at_once.message_id)).step_until == 300
    assert (await row(pipeline, later.message_id)).step_until == 3900
    assert (await row(pipeline, alone.message_id)).step_until is None


async def test_a_moment_just_past_is_now(pipeline: MessagePipeline) -> None:
    at = datetime.now(UTC) - timedelta(seconds=30)
    accepted = await pipeline.outbox.accept(DEFAULT_TENANT, draft(send_at=at))
    found = await row(pipeline, accepted.message_id)
    assert (found.status, found.due_at) == ("QUEUED", 0)
    assert pipeline.woken == [Channel.SMS]


@pytest.mark.parametrize(
    ("given", "path", "rule"),
    [
        ({"send_at": datetime(2020, 1, 1, tzinfo=UTC)}, "schedule.at", "IN_THE_PAST"),
        ({"send_at": datetime(2099, 1, 1, tzinfo=UTC)}, "schedule.at", "OUT_OF_RANGE"),
        ({"send_after": timedelta(days=367)}, "schedule.after", "OUT_OF_RANGE"),
        ({"expires_in": timedelta(seconds=9)}, "expiresIn", "OUT_OF_RANGE"),
        ({"expires_in": timedelta(days=31)}, "expiresIn", "OUT_OF_RANGE"),
    ],
)
async def test_invalid_hours_are_refused(
    pipeline: MessagePipeline, given: dict[str, Any], path: str, rule: str
) -> None:
    with pytest.raises(Refused) as refused:
        await pipeline.outbox.accept(DEFAULT_TENANT, draft(**given))
    [error] = refused.value.errors
    assert isinstance(error, InvalidInput)
    assert (".".join(error.path), error.rule) == (f"input.{path}", rule)
    assert await pipeline.count("messages") == 0


async def test_a_schedule_is_judged_by_the_database_s_clock(pipeline: MessagePipeline) -> None:
    # According to the database, it is two days later than on this machine.
    pipeline.outbox._clock.set(datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(Refused, match="in the past"):
        await pipeline.outbox.accept(DEFAULT_TENANT, draft(send_at=datetime.now(UTC) + timedelta(days=1)))


async def test_a_replay_is_answered_though_its_hour_has_passed(pipeline: MessagePipeline) -> None:
    given = {"send_at": datetime.now(UTC) + HOUR, "idempotency_key": "order-1"}
    first = await pipeline.outbox.accept(DEFAULT_TENANT, draft(**given))
    pipeline.outbox._clock.set(datetime.now(UTC) + timedelta(days=1))
    again = await pipeline.outbox.accept(DEFAULT_TENANT, draft(**given))
    assert (again.message_id, again.is_replay) == (first.message_id, True)


async def test_quiet_hours_defer_a_message_until_they_end(pipeline: MessagePipeline) -> None:
    # By this clock it is always night until noon, or from noon on: one of the two is now.
    pipeline.outbox._clock.set(datetime(2026, 11, 23, 1, 0, tzinfo=UTC))
    accepted = await pipeline.outbox.accept(DEFAULT_TENANT, draft(respects_quiet_hours=True))
    assert accepted.message is not None
    # 22:00 on the wall in São Paulo; its morning comes at 11:00 UTC.
    assert accepted.message.send_at == datetime(2026, 11, 23, 11, tzinfo=UTC)


async def test_quiet_hours_are_held_against_the_hour_it_is_scheduled_for(pipeline: MessagePipeline) -> None:
    pipeline.outbox._clock.set(datetime.now(UTC))
    night = datetime.now(UTC).replace(hour=3, minute=0, second=0, microsecond=0) + timedelta(days=2)
    kept = await pipeline.outbox.accept(DEFAULT_TENANT, draft(send_at=night, respects_quiet_hours=True))
    told = await pipeline.outbox.accept(DEFAULT_TENANT, draft(send_at=night))
    assert kept.message is not None
    assert told.message is not None
    assert kept.message.status == told.message.status == "SCHEDULED"
    assert kept.message.send_at == night + timedelta(hours=8)
    assert told.message.send_at == night


async def test_by_day_quiet_hours_change_nothing(pipeline: MessagePipeline) -> None:
    pipeline.outbox._schedule._quiet_hours = QuietHours(*(datetime(2026, 1, 1, 0, m).time() for m in (0, 1)))  # noqa: DTZ001
    pipeline.outbox._clock.set(datetime(2026, 11, 23, 15, tzinfo=UTC))
    accepted = await pipeline.outbox.accept(DEFAULT_TENANT, draft(respects_quiet_hours=True))
    assert accepted.message is not None
    assert (accepted.message.status, accepted.message.send_at) == ("QUEUED", None)


async def test_a_rehearsal_checks_all_and_stores_nothing(pipeline: MessagePipeline) -> None:
    assert await pipeline.outbox.hand_in(DEFAULT_TENANT, draft(is_rehearsal=True, idempotency_key="k")) == (None, [])
    await pipeline.outbox.accept(DEFAULT_TENANT, draft(external_id="E1", idempotency_key="k"))
    # The key is known with other input, the external id is taken, the hour has passed.
    for given, words in (
        ({"idempotency_key": "k"}, "other input"),
        ({"external_id": "E1"}, "belongs to a message"),
        ({"send_at": datetime(2020, 1, 1, tzinfo=UTC)}, "in the past"),
    ):
        with pytest.raises(Exception, match=words):
            await pipeline.outbox.hand_in(DEFAULT_TENANT, draft(is_rehearsal=True, **given))
    same = draft(is_rehearsal=True, external_id="E1", idempotency_key="k")
    assert await pipeline.outbox.hand_in(DEFAULT_TENANT, same) == (None, [])
    assert await pipeline.count("messages") == await pipeline.count("idempotency_keys") == 1
