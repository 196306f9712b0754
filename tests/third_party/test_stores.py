"""Debian's PostgreSQL and Redis with a private CA, and Redis as a user that has only the documented rights."""

import asyncio
import json
import os
import re
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from api.store_probe import probe_stores
from core.database import Database, driver_connection, make_engine
from core.errors import Overloaded
from core.pubsub import connect_redis
from core.settings import CoreSettings, load
from core.store_faults import database_fault, redis_fault
from tests.databases import SharedStores
from tests.helpers import until
from tests.pooler import behind_a_pooler, needs_pooler
from tests.running_system import new_phone, running_system
from tests.servers import free_port
from tests.third_party.store_servers import ROOT, Servers, postgres_folder, redis_program, store_servers

# CI has both; elsewhere these tests may be skipped.
pytestmark = pytest.mark.skipif(
    (postgres_folder() is None or redis_program() is None) and "CI" not in os.environ,
    reason="Debian's postgresql and redis-server are not there: .ci/run brings them",
)
PAGE = (ROOT / "docs" / "how-to" / "redis-rights.md").read_text()
[ACL] = re.findall(r"^ACL SETUSER interalpha .*$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    with tempfile.TemporaryDirectory(prefix="interalpha-stores-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with store_servers(folder, ACL) as found:
            yield found


async def reason_of(url: str) -> str:
    """Return why PostgreSQL refuses the connection; empty where it accepts it."""
    database = Database(make_engine(url, pool_size=1))
    try:
        async with database.transaction():
            return ""
    except Overloaded as error:
        fault = database_fault(error.__cause__)
        return fault.code if fault is not None else repr(error.__cause__)
    finally:
        await database.close()


async def reason_of_redis(url: str) -> str:
    """Return why Redis refuses the connection; empty where it accepts it."""
    client = connect_redis(url)
    try:
        await client.echo("ready")
    except Exception as error:
        fault = redis_fault(error)
        return fault.code if fault is not None else repr(error)
    else:
        return ""
    finally:
        await client.aclose()


async def test_postgresql_is_trusted_by_its_certificate_only(servers: Servers) -> None:
    own, other = servers.authority.file, servers.stranger.file
    revoked = servers.authority.revoke(servers.certificate)
    certificate, key, _ = servers.authority.certify("client")
    foreign, foreign_key, _ = servers.stranger.certify("foreign")
    for user, host, query, expected in (
        ("interalpha_app", "localhost", f"sslmode=verify-full&sslrootcert={own}", ""),
        ("interalpha_app", "localhost", f"sslmode=verify-ca&sslrootcert={own}", ""),
        ("interalpha_app", "127.0.0.1", f"sslmode=verify-ca&sslrootcert={own}", ""),
        ("interalpha_app", "127.0.0.1", f"sslmode=require&sslrootcert={own}", ""),
        ("interalpha_app", "127.0.0.1", "sslmode=require", ""),
        ("interalpha_app", "localhost", "sslmode=prefer", ""),
        ("interalpha_app", "localhost", f"channel_binding=require&sslrootcert={own}", ""),
        ("interalpha_app", "127.0.0.1", f"sslmode=verify-full&sslrootcert={own}", "CERTIFICATE_NAME"),
        ("interalpha_app", "localhost", f"sslmode=verify-full&sslrootcert={other}", "CERTIFICATE_UNTRUSTED"),
        ("interalpha_app", "localhost", f"sslmode=verify-ca&sslrootcert={other}", "CERTIFICATE_UNTRUSTED"),
        ("interalpha_app", "localhost", f"sslmode=require&sslrootcert={other}", "CERTIFICATE_UNTRUSTED"),
        ("interalpha_app", "localhost", "sslmode=verify-full&sslrootcert=system", "CERTIFICATE_UNTRUSTED"),
        ("interalpha_app", "localhost", "channel_binding=require&sslmode=require", "CERTIFICATE_UNTRUSTED"),
        (
            "interalpha_app",
            "localhost",
            f"sslmode=verify-full&sslrootcert={own}&sslcrl={revoked}",
            "CERTIFICATE_REVOKED",
        ),
        ("interalpha_app", "localhost", "sslmode=disable", "TLS_NEEDED"),
        ("certified", "localhost", f"sslmode=verify-full&sslrootcert={own}", "CERTIFICATE_NEEDED"),
        ("certified", "localhost", f"sslmode=verify-full&sslrootcert={own}&sslcert={certificate}&sslkey={key}", ""),
        (
            "certified",
            "localhost",
            f"sslmode=verify-full&sslrootcert={own}&sslcert={foreign}&sslkey={foreign_key}",
            "CERTIFICATE_NEEDED",
        ),
    ):
        assert await reason_of(servers.postgres_url(user, "postgres", f"?{query}", host)) == expected, (
            user,
            host,
            query,
        )


async def test_session_settings_in_the_url_reach_the_server(servers: Servers) -> None:
    query = (
        f"?sslmode=verify-full&sslrootcert={servers.authority.file}&application_name=shop"
        "&options=-c%20work_mem%3D9MB&keepalives_idle=77&target_session_attrs=read-write&connect_timeout=3"
    )
    url = servers.postgres_url("interalpha_app", "postgres", query, f"localhost:{free_port()},localhost")
    database = Database(make_engine(url, pool_size=1))
    async with database.transaction() as connection:
        answer = await connection.execute(
            text(
                "SELECT current_setting('application_name'), current_setting('work_mem'), ssl FROM pg_stat_ssl"
                " WHERE pid = pg_backend_pid()"
            )
        )
        assert tuple(answer.one()) == ("shop", "9MB", True)
        plug = (await driver_connection(connection))._transport.get_extra_info("socket")
        assert plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 77
    await database.close()


async def test_redis_is_trusted_by_its_certificate_only(servers: Servers) -> None:
    own, other = servers.authority.file, servers.stranger.file
    certificate, key, _ = servers.authority.certify("redis-client")
    for host, query, expected in (
        ("localhost", f"ssl_ca_certs={own}", ""),
        ("localhost", f"ssl_ca_certs={own}&ssl_certfile={certificate}&ssl_keyfile={key}", ""),
        ("localhost", f"ssl_ca_certs={own}&protocol=3&client_name=shop", ""),
        ("127.0.0.1", f"ssl_ca_certs={own}&ssl_check_hostname=false", ""),
        ("127.0.0.1", "ssl_cert_reqs=CERT_NONE", ""),
        ("127.0.0.1", f"ssl_ca_certs={own}", "CERTIFICATE_NAME"),
        ("localhost", f"ssl_ca_certs={other}", "CERTIFICATE_UNTRUSTED"),
        ("localhost", "", "CERTIFICATE_UNTRUSTED"),
    ):
        assert await reason_of_redis(servers.redis_url(f"?{query}", host=host)) == expected, (host, query)
    plain = servers.redis_url().replace("rediss://", "redis://", 1)
    assert await reason_of_redis(plain) == "CONNECTION_LOST"


@needs_pooler
async def test_pgbouncer_works_as_documented_with_tls_on_both_sides(servers: Servers, tmp_path: Path) -> None:
    for mode, expected in (("verify-full", ""), ("disable", "TLS_NEEDED")):
        folder = tmp_path / mode
        folder.mkdir()
        async with (
            servers.database() as urls,
            behind_a_pooler(
                urls,
                folder,
                host="localhost",
                client_tls_sslmode="require",
                client_tls_cert_file=str(servers.folder / "postgres-server.crt"),
                client_tls_key_file=str(servers.folder / "postgres-server.key"),
                server_tls_sslmode=mode,
                server_tls_ca_file=str(servers.authority.file),
            ) as pooled,
        ):
            assert await reason_of(f"{pooled.app}&pgbouncer=true") == expected
            weak = pooled.app.partition("?")[0]
            assert await reason_of(f"{weak}?sslmode=verify-full") == "CERTIFICATE_UNTRUSTED"
            assert await reason_of(f"{weak}?sslmode=disable") == "TLS_NEEDED"


async def as_admin(servers: Servers) -> Redis:
    return connect_redis(servers.redis_url(f"?ssl_ca_certs={servers.authority.file}", user="default"))


async def test_the_documented_rights_are_enough_to_deliver_messages(servers: Servers, tmp_path: Path) -> None:
    admin = await as_admin(servers)
    await admin.acl_log_reset()
    async with running_system(cast(SharedStores, servers), tmp_path) as system:
        phone = new_phone()
        async with system.watch() as events:
            message = await system.sms(phone)
            assert await events.statuses_until("DELIVERED")
        await system.comes_to(message, "DELIVERED")
        assert await system.copies(phone) == 1
        await until(lambda: admin.exists("interalpha:gate:twilio"), bool)
        ids = await asyncio.gather(*(system.sms(new_phone()) for _ in range(20)))
        for one in ids:
            await system.comes_to(one, "DELIVERED")
        commands = cast(Mapping[str, Any], await admin.info("commandstats"))
        # Wake-ups arrived through SAQ, and changes through channels.
        assert {"cmdstat_blmove", "cmdstat_evalsha", "cmdstat_publish", "cmdstat_subscribe"} <= commands.keys()
        logs = system.worker.log.read_text() + system.api.log.read_text()
    for event in ("flow_store_away", "wake_up_not_sent", "wake_ups_interrupted", "hints_interrupted", "_not_published"):
        assert event not in logs
    # A missing right would be in this log, even where the error was caught.
    assert [(one["username"], one["object"]) for one in await admin.acl_log()] == []
    await admin.aclose()


async def found(servers: Servers, redis: str) -> dict[str, list[tuple[str, str]]]:
    async with servers.database() as urls:
        settings = load(
            CoreSettings,
            {"DATABASE_URL": urls.app, "DATABASE_URL_WORKER": urls.worker, "DATABASE_URL_DIRECT": urls.direct}
            | {"REDIS_URL": redis},
        ).value
        assert settings is not None
        probes = await probe_stores(settings)
        return {name: [(one.code, one.detail) for one in some] for name, some in probes.items()}


async def test_the_store_check_passes_and_names_a_missing_right(servers: Servers) -> None:
    ca = f"?ssl_ca_certs={servers.authority.file}"
    well = await found(servers, servers.redis_url(ca))
    assert {code for some in well.values() for code, _ in some} == {"READY"}, json.dumps(well)
    admin = await as_admin(servers)
    line = ACL.replace("SETUSER interalpha", "SETUSER uninformed").replace(" +info", "")
    await admin.execute_command(
        *line.replace(">PASSWORD", f">{servers.redis_url().split(':')[2].split('@')[0]}").split()
    )
    await admin.aclose()
    [(code, detail)] = (await found(servers, servers.redis_url(ca, user="uninformed")))["REDIS_URL"]
    assert code == "MISSING_RIGHT"
    assert "INFO: without it the worker takes no wake-ups" in detail
    wrong = await found(servers, servers.redis_url(f"?ssl_ca_certs={servers.stranger.file}"))
    assert wrong["REDIS_URL"][0][0] == "CERTIFICATE_UNTRUSTED"
