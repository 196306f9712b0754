"""`interalpha check --probe` logs in to the stores and finds what would not work."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from api.cli import interalpha as program
from api.store_probe import CHANNELS, COMMANDS, KEYS, probe_stores
from core.ports import Severity
from core.settings import CoreSettings, load
from tests.databases import ENCRYPTION_KEY, SharedStores, Urls
from tests.edge.factories import url_with_login

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "redis-rights.md").read_text()
[ACL] = re.findall(r"^ACL SETUSER interalpha .*$", PAGE, re.MULTILINE)


async def findings(**environment: str) -> dict[str, list[tuple[str, str]]]:
    """Code and detail of what is found, by setting."""
    settings = load(CoreSettings, environment).value
    assert settings is not None
    found = await probe_stores(settings)
    return {name: [(one.code, one.detail) for one in some] for name, some in found.items()}


def codes(found: Mapping[str, list[tuple[str, str]]]) -> dict[str, list[str]]:
    return {name: [code for code, _ in some] for name, some in found.items()}


@pytest.fixture
async def superuser(edge_urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(edge_urls.superuser)
    yield connection
    await connection.close()


async def test_correct_stores_are_reported_as_healthy(edge_urls: Urls) -> None:
    found = await findings(
        DATABASE_URL=edge_urls.app,
        DATABASE_URL_WORKER=edge_urls.worker,
        DATABASE_URL_DIRECT=edge_urls.direct,
        REDIS_URL=edge_urls.redis,
    )
    names = {"DATABASE_URL", "DATABASE_URL_WORKER", "DATABASE_URL_DIRECT", "REDIS_URL"}
    assert codes(found) == {name: ["READY"] for name in names}
    assert "as interalpha_app, tables at" in found["DATABASE_URL"][0][1]


async def test_wrong_roles_are_found(edge_urls: Urls, superuser: asyncpg.Connection) -> None:
    for role, power in (("probe_plain", ""), ("probe_strong", "BYPASSRLS IN ROLE interalpha_app, interalpha_worker")):
        await superuser.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'plain' {power}")
    try:
        plain = url_with_login(edge_urls.app, "probe_plain", "plain")
        for environment, expected in (
            ({"DATABASE_URL": plain}, ["MISSING_RIGHT", "MISSING_RIGHT"]),
            ({"DATABASE_URL": plain, "DATABASE_URL_WORKER": edge_urls.worker}, ["MISSING_RIGHT"]),
            ({"DATABASE_URL": edge_urls.app}, ["MISSING_RIGHT"]),
            ({"DATABASE_URL": url_with_login(edge_urls.app, "probe_strong", "plain")}, ["ROLE_ESCAPES"]),
            ({"DATABASE_URL": url_with_login(edge_urls.app, "interalpha_app", "wrong")}, ["WRONG_PASSWORD"]),
            ({"DATABASE_URL": "postgresql://u:p@127.0.0.1:9/app"}, ["UNREACHABLE"]),
        ):
            assert codes(await findings(**environment))["DATABASE_URL"] == expected, environment
        found = await findings(DATABASE_URL_WORKER=edge_urls.app, DATABASE_URL_DIRECT=edge_urls.app)
        assert codes(found) == {"DATABASE_URL_WORKER": ["MISSING_RIGHT"], "DATABASE_URL_DIRECT": ["MISSING_RIGHT"]}
    finally:
        for role in ("probe_plain", "probe_strong"):
            await superuser.execute(f"DROP ROLE {role}")


async def test_tables_of_another_version_are_found(stores: SharedStores) -> None:
    async with stores.database() as urls:
        owner = await asyncpg.connect(urls.direct)
        await owner.execute("UPDATE alembic_version SET version_num = '0001'")
        await owner.close()
        found = await findings(DATABASE_URL=urls.app, DATABASE_URL_WORKER=urls.worker)
    assert codes(found) == {"DATABASE_URL": ["TABLES_MISSING"], "DATABASE_URL_WORKER": ["TABLES_MISSING"]}
    assert "at 0001" in found["DATABASE_URL"][0][1]


async def as_user(urls: Urls, line: str, name: str) -> str:
    """The URL of a user that this line makes."""
    async with Redis.from_url(urls.redis) as redis:
        await redis.execute_command(*line.replace("SETUSER interalpha", f"SETUSER {name}", 1).split())
    return f"redis://{name}:PASSWORD@{urls.redis.rpartition('@')[2]}"


async def test_the_line_on_the_page_grants_all_that_is_needed_and_without_any_of_it_the_probe_says_so(
    edge_urls: Urls,
) -> None:
    granted = {word.lstrip("+~&") for word in ACL.split() if word[0] in "+~&"}
    commands = {str(one[0]).lower() for one in COMMANDS} - {"script"}
    assert commands | {f"{one}*" for one in (*KEYS, *CHANNELS)} <= granted
    url = await as_user(edge_urls, ACL, "probed")
    assert codes(await findings(REDIS_URL=url)) == {"REDIS_URL": ["READY"]}
    # Of other databases, of names in lists, and of ends that a closed connection brings, too.
    unasked = {"+select", "+client|setname", "+discard", "+unsubscribe"}
    for word in (word for word in ACL.split() if word[0] in "+~&" and word not in unasked):
        url = await as_user(edge_urls, ACL.replace(f" {word}", " ", 1), "probed")
        [(code, detail), *_] = (await findings(REDIS_URL=url))["REDIS_URL"]
        assert code == "MISSING_RIGHT", word
        assert word.lstrip("+~&").partition("|")[0].upper() in detail.upper(), (word, detail)
    async with Redis.from_url(edge_urls.redis) as redis:
        await redis.execute_command("ACL", "DELUSER", "probed")
        # Nothing stays but what a user without DEL leaves behind, which ends by itself.
        assert [key async for key in redis.scan_iter("interalpha:probe:*") if await redis.ttl(key) < 0] == []


async def test_without_info_the_probe_says_what_is_slow(edge_urls: Urls) -> None:
    url = await as_user(edge_urls, ACL.replace(" +info", ""), "uninformed")
    [(code, detail)] = (await findings(REDIS_URL=url))["REDIS_URL"]
    assert code == "MISSING_RIGHT"
    assert "INFO: without it the worker takes no wake-ups" in detail
    async with Redis.from_url(edge_urls.redis) as redis:
        await redis.execute_command("ACL", "DELUSER", "uninformed")


def test_every_command_of_our_scripts_is_probed() -> None:
    scripts = " ".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    called = set(re.findall(r"redis\.call\(\s*'([A-Z]+)'", scripts))
    assert {"HMGET", "TIME", "PEXPIRE"} <= called
    assert called <= {str(one[0]) for one in COMMANDS}


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_shows_what_was_found_and_no_secret(
    edge_urls: Urls, as_json: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {
        "DATABASE_URL": url_with_login(edge_urls.app, "interalpha_app", "hush-hush"),
        "REDIS_URL": edge_urls.redis,
        "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}",
    }
    arguments = ["check", "--probe", *(["--json"] if as_json else [])]
    result = CliRunner().invoke(program, arguments, env=environment)
    assert result.exit_code == 1, result.output
    assert "hush-hush" not in result.output
    assert edge_urls.redis.partition("@")[0].rpartition(":")[2] not in result.output
    if as_json:
        probes: dict[str, Any] = json.loads(result.stdout)["probes"]
        assert probes["DATABASE_URL"][0]["code"] == "WRONG_PASSWORD"
        assert probes["REDIS_URL"][0]["severity"] == Severity.INFO
    else:
        assert "✗ DATABASE_URL     The password, or the role, is refused." in result.stdout
        assert "every right that is needed" in result.stdout
