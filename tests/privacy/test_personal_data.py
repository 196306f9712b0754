"""What a noun contributes about people takes part in erasure, retention and export, without an edit to another noun."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from core.ids import uuid7
from core.nouns import (
    DataKind,
    Erased,
    Expired,
    ExpiryStep,
    Forgotten,
    PersonalData,
    PersonStep,
    SubjectKey,
)
from core.person import Person
from core.ports.identity import DEFAULT_TENANT
from core.privacy.erase import run_erasure_step
from core.privacy.export import export_person
from core.privacy.retention import Retention, forget_expired_data
from core.pubsub import Change
from tests.contributed import PERSONAL_DATA
from tests.privacy.conftest import NUMBER, OTHER_NUMBER, WORDS, Life

KIND = "Parcel"


@dataclass
class Parcels:
    """Parcels of people, in memory; `is_busy` while one is under way, `breaks` for the people whose parcels raise."""

    of: dict[str, list[UUID]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    is_busy: bool = False
    breaks: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)

    async def erase(self, step: PersonStep) -> Erased:
        self.steps.append("erase")
        if step.person.address in self.breaks:
            raise RuntimeError("the noun is broken")
        left = self.of.get(step.person.address, [])
        done = [left.pop(0) for _ in range(min(step.limit, len(left)))]
        changes = [Change(step.tenant_id, one, KIND) for one in done]
        return Erased([SubjectKey(KIND, one) for one in done], len(done), bool(left), self.is_busy, changes)

    async def erase_names(self, step: PersonStep) -> int:
        self.steps.append("names")
        return self.names.pop(step.person.address, 0)

    async def export(self, step: PersonStep, after: UUID | None) -> Sequence[Mapping[str, Any]]:
        behind = [one for one in self.of.get(step.person.address, []) if after is None or one > after]
        return [{"type": KIND, "id": str(one)} for one in behind[: step.limit]]

    @property
    def personal_data(self) -> PersonalData:
        return PersonalData(self.erase, self.erase_names, self.export)


async def run_all(life: Life, nouns: Sequence[PersonalData]) -> None:
    while await run_erasure_step(life.pipeline.worker, life.pipeline.sealer, life.pipeline.hub, nouns, batch=2):
        pass


async def test_its_objects_names_and_webhooks_are_erased_and_counted_beside_the_messages(life: Life) -> None:
    parcels = Parcels({NUMBER: [uuid7() for _ in range(5)], OTHER_NUMBER: [uuid7()]}, {NUMBER: 3})
    await life.send(NUMBER, WORDS)
    # About a parcel, and it does not name the person.
    await life.nobody_asked("ParcelStatus=shipped", "P1:shipped")
    await life.nobody_asked("ParcelStatus=lost", "P2:lost")
    about = "UPDATE inbox SET subject_kind = $1, message_id = $2 WHERE dedupe_key = 'P1:shipped'"
    await life.owner.execute(about, KIND, parcels.of[NUMBER][0])
    id = await life.ask_to_erase(NUMBER)
    await run_all(life, [parcels.personal_data, *PERSONAL_DATA])
    done = await life.erasure(id)
    assert done.finished_at is not None
    assert done.objects == {KIND: 5, "Message": 1}
    assert (done.messages, done.canceled, done.names, done.webhooks) == (1, 6, 3, 1)
    assert [len(left) for left in parcels.of.values()] == [0, 1]
    kept = await life.owner.fetch("SELECT dedupe_key FROM inbox WHERE raw_sealed IS NOT NULL")
    assert [row["dedupe_key"] for row in kept] == ["P2:lost"]
    # All objects first, the names once.
    assert parcels.steps.count("names") == 1
    assert parcels.steps[-2:] == ["erase", "names"]


async def test_what_is_under_way_keeps_the_erasure_open(life: Life) -> None:
    parcels = Parcels({NUMBER: [uuid7()]}, is_busy=True)
    id = await life.ask_to_erase(NUMBER)
    await run_all(life, [parcels.personal_data])
    assert (await life.erasure(id)).finished_at is None
    parcels.is_busy = False
    await run_all(life, [parcels.personal_data])
    assert (await life.erasure(id)).finished_at is None, "the next step waits a moment"
    await life.owner.execute("UPDATE erasures SET due_at = now()")
    await run_all(life, [parcels.personal_data])
    assert (await life.erasure(id)).finished_at is not None


async def test_a_noun_that_raises_undoes_its_step_is_tried_later_and_delays_no_other_erasure(life: Life) -> None:
    parcels = Parcels({NUMBER: [uuid7()], OTHER_NUMBER: [uuid7()]}, breaks={NUMBER})
    # The messages are erased in the same step, before the noun that raises: batches of three hold both.
    message = await life.send(NUMBER, WORDS)
    broken, other = await life.ask_to_erase(NUMBER), await life.ask_to_erase(OTHER_NUMBER)
    nouns = [*PERSONAL_DATA, parcels.personal_data]
    with capture_logs() as logs:
        await run_all(life, nouns)
    assert [(one["event"], one["erasure_id"]) for one in logs if one["log_level"] == "error"] == [
        ("erasure_step_failed", str(broken))
    ]
    assert (await life.erasure(other)).finished_at is not None
    assert (await life.erasure(broken)).finished_at is None
    assert (await life.pipeline.message(message)).to is None, "the steps before it are kept"
    assert await life.owner.fetchval("SELECT due_at > now() FROM erasures WHERE id = $1", broken)
    parcels.breaks.clear()
    await life.owner.execute("UPDATE erasures SET due_at = now() WHERE id = $1", broken)
    await run_all(life, nouns)
    done = await life.erasure(broken)
    assert (done.finished_at is not None, done.objects) == (True, {KIND: 1, "Message": 1})


async def test_its_old_data_is_deleted_by_the_age_of_its_kind_and_a_failure_stops_no_other_kind(life: Life) -> None:
    asked: list[tuple[timedelta, datetime | None, int]] = []
    left = 5
    end = datetime(2026, 1, 1, tzinfo=UTC)

    async def forget(step: ExpiryStep) -> Forgotten:
        nonlocal left
        asked.append((step.age, step.since, step.limit))
        done = min(step.limit, left)
        left -= done
        return Forgotten(done, end)

    async def fail(_step: ExpiryStep) -> Forgotten:
        raise RuntimeError("the noun is broken")

    broken = PersonalData(expired=[Expired(DataKind.CONTENT, fail)])
    mine = PersonalData(expired=[Expired(DataKind.ADDRESSES, forget)])
    message = await life.send(NUMBER, WORDS)
    await life.deliver()
    await life.owner.execute("UPDATE messages SET due_at = NULL")
    await life.grow_old(timedelta(days=40))
    kept = Retention(content=timedelta(days=20), addresses=timedelta(days=30))
    nouns = [broken, mine, *PERSONAL_DATA]
    with pytest.raises(ExceptionGroup) as raised:
        await forget_expired_data(life.pipeline.worker, life.pipeline.sealer, kept, nouns, batch=2)
    assert [str(one) for one in raised.value.exceptions] == ["the noun is broken"]
    after = await life.pipeline.message(message)
    assert (after.content, after.to) == (None, None)
    assert left == 0
    assert asked == [(kept.addresses, None, 2), (kept.addresses, end, 2), (kept.addresses, end, 2)]


async def test_its_objects_are_exported_page_by_page(life: Life) -> None:
    parcels = Parcels({NUMBER: sorted(uuid7() for _ in range(5)), OTHER_NUMBER: [uuid7()]})
    found = export_person(
        life.pipeline.app,
        life.pipeline.sealer,
        DEFAULT_TENANT,
        Person.of(NUMBER),
        [parcels.personal_data, *PERSONAL_DATA],
        batch=2,
    )
    assert [one async for one in found] == [{"type": KIND, "id": str(one)} for one in parcels.of[NUMBER]]
