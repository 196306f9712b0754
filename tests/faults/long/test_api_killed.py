"""F3 and F9: the API dies, or its connection to the database does, at any moment of a request: one key, one message."""

import asyncio
import os
from pathlib import Path
from random import Random

from tests.faults.faults import Fault, kill_api
from tests.faults.runs import FaultMix, PrintLine, run_faults, settle_and_check
from tests.faults.steps import count_statuses, sms_traffic
from tests.faults.system import Plan, system_under_test
from tests.faults.traffic import AcceptedMessage, TryAgain

SECONDS = float(os.environ.get("FAULT_SECONDS") or 60)
ROUNDS = int(os.environ.get("FAULT_ROUNDS") or 50)
LOSSES = max(ROUNDS, 8)
"""Some hit a transaction of the API's own instead: of so many, half will do."""

SLOW_COMMIT = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION be_slow();
"""
TERMINATE_COMMITTING = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = 'interalpha_app' AND state = 'active' AND query = 'COMMIT'
"""


async def test_an_api_killed_again_and_again_makes_one_message_of_each_key(tmp_path: Path, tell: PrintLine) -> None:
    faults = [Fault("the API killed", kill_api, lasts=(0.0, 0.2))]
    mixture = FaultMix({"house": faults}, seconds=SECONDS, clients=8, pause=(0.2, 2.0), climate=None)
    found = await run_faults(tmp_path, "api killed", mixture, tell, Plan(workers=1, tenants=2))
    assert found.faults >= SECONDS / 6
    assert found.accepted > found.faults


async def test_a_back_end_killed_while_it_commits_is_never_answered_with_yes(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        await city.cellar.execute(SLOW_COMMIT)
        traffic = sms_traffic(city, "killed while committing")
        chance = Random(1)
        answers: list[str] = []
        for _ in range(ROUNDS):
            order = traffic.draw(chance)
            sending = asyncio.create_task(traffic.send(order))
            while not sending.done():
                [row] = await city.cellar.fetch(TERMINATE_COMMITTING)
                if row[0]:
                    break
                await asyncio.sleep(0.01)
            try:
                acked = await sending
            except TryAgain as error:
                answers.append(error.answered)
            else:
                # It had committed just before it was killed: then the answer is true.
                assert isinstance(acked, AcceptedMessage)
            await traffic.insist(order)
        assert len(answers) >= ROUNDS / 2
        assert all("same idempotency key" in answer for answer in answers), answers
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": ROUNDS}


async def test_an_answer_to_commit_that_is_lost_is_found_again_under_the_key(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as city:
        traffic = sms_traffic(city, "commit's answer lost")
        chance = Random(2)
        lost = replayed = 0
        for _ in range(LOSSES):
            order = traffic.draw(chance)
            city.wires["api-postgres"].hang_up_after = b"COMMIT\x00"
            try:
                await traffic.send(order)
            except TryAgain:
                lost += 1
            city.wires["api-postgres"].hang_up_after = None
            acked = await traffic.insist(order)
            assert acked is not None
            replayed += acked.is_replay
        assert lost >= LOSSES / 2
        assert replayed >= lost / 2, "nothing had been committed"
        evidence = await settle_and_check(city, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": LOSSES}
