"""The API or its database connection dies at any moment of a request: still one message for each key."""

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
"""Some of the faults hit another transaction of the API: half of them are enough."""

SLOW_COMMIT = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION be_slow();
"""
TERMINATE_COMMITTING = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename = 'interalpha_app' AND state = 'active' AND query = 'COMMIT'
"""


async def test_an_api_that_is_killed_repeatedly_creates_one_message_for_each_key(
    tmp_path: Path, print_line: PrintLine
) -> None:
    faults = [Fault("the API killed", kill_api, lasts=(0.0, 0.2))]
    mixture = FaultMix({"own": faults}, seconds=SECONDS, clients=8, pause=(0.2, 2.0), slow_answers=None)
    found = await run_faults(tmp_path, "api killed", mixture, print_line, Plan(workers=1, tenants=2))
    assert found.faults >= SECONDS / 6
    assert found.accepted > found.faults


async def test_a_commit_whose_connection_is_terminated_is_never_answered_with_success(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        await system.stores.execute(SLOW_COMMIT)
        traffic = sms_traffic(system, "killed while committing")
        chance = Random(1)
        answers: list[str] = []
        for _ in range(ROUNDS):
            order = traffic.draw(chance)
            sending = asyncio.create_task(traffic.send(order))
            while not sending.done():
                [row] = await system.stores.fetch(TERMINATE_COMMITTING)
                if row[0]:
                    break
                await asyncio.sleep(0.01)
            try:
                accepted = await sending
            except TryAgain as error:
                answers.append(error.answered)
            else:
                # It had committed just before it was killed: the answer is right.
                assert isinstance(accepted, AcceptedMessage)
            await traffic.send_until_answered(order)
        assert len(answers) >= ROUNDS / 2
        assert all("same idempotency key" in answer for answer in answers), answers
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": ROUNDS}


async def test_after_a_lost_commit_answer_the_same_key_returns_the_same_message(tmp_path: Path) -> None:
    async with system_under_test(tmp_path, Plan(workers=1)) as system:
        traffic = sms_traffic(system, "commit's answer lost")
        chance = Random(2)
        lost = replayed = 0
        for _ in range(LOSSES):
            order = traffic.draw(chance)
            system.proxies["api-postgres"].reset_after = b"COMMIT\x00"
            try:
                await traffic.send(order)
            except TryAgain:
                lost += 1
            system.proxies["api-postgres"].reset_after = None
            accepted = await traffic.send_until_answered(order)
            assert accepted is not None
            replayed += accepted.is_replay
        assert lost >= LOSSES / 2
        assert replayed >= lost / 2, "nothing had been committed"
        evidence = await settle_and_check(system, traffic, seed=traffic.seed)
        assert count_statuses(evidence) == {"DELIVERED": LOSSES}
