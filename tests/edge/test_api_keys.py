"""API keys at the HTTP edge: in production, over every transport, and not where browsers put them."""

import asyncio
import json
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

import asyncpg
import httpx
import pytest
from click.testing import CliRunner

from api.bootstrap import App
from api.cli import interalpha
from api.database_commands import ApiKeyAdmin
from api.worker.loops import build_worker
from core.access import noun
from core.access.api_key_lookup import KeyKind, generate_key
from core.access.api_keys import NewKey
from core.access.directory import apply_directory_event
from core.ports import DirectoryChanged, Membership
from core.ports.identity import DEFAULT_TENANT, Scope
from tests.apps import build_application
from tests.databases import ENCRYPTION_KEY, Urls
from tests.edge.factories import CLERK_SETTINGS, READ_MESSAGES, SEND_MESSAGE, Serving, error_codes, post_query
from tests.helpers import until
from tests.providers.clerk_tokens import claims, token


@pytest.fixture
def key_admin(edge_urls: Urls, application: App) -> ApiKeyAdmin:
    return ApiKeyAdmin(edge_urls.app, application.sealer, DEFAULT_TENANT)


async def make(key_admin: ApiKeyAdmin, *scopes: Scope, kind: KeyKind = KeyKind.LIVE) -> tuple[str, str]:
    """A key, as the command line makes one, and the part it is found by."""
    wanted = NewKey("a server", kind, frozenset(scopes or Scope))
    key, secret = await asyncio.to_thread(key_admin.create, wanted)
    return secret, key.public_id


async def test_in_production_a_key_lets_in(serving: Serving, key_admin: ApiKeyAdmin) -> None:
    secret, _ = await make(key_admin, Scope.MESSAGES_READ)
    async with serving(APP_ENV="production") as client:
        answer = await post_query(client, READ_MESSAGES, authorization=f"Bearer {secret}")
        assert answer.json() == {"data": {"messages": {"pageInfo": {"hasNextPage": False}}}}
        refused = await post_query(client, SEND_MESSAGE, authorization=f"Bearer {secret}")
        assert error_codes(refused) == ["FORBIDDEN"]


async def test_the_reason_for_a_rejected_key_is_answered_and_logged_without_the_key(
    client: httpx.AsyncClient, key_admin: ApiKeyAdmin, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, name = await make(key_admin)
    await asyncio.to_thread(key_admin.revoke, name)
    unknown, _ = generate_key(KeyKind.LIVE)
    for given, words in ((secret[:-1], "mistyped"), (unknown, "This server does not know"), (secret, "was revoked")):
        answer = await post_query(client, READ_MESSAGES, authorization=f"Bearer {given}")
        assert (answer.status_code, error_codes(answer)) == (401, ["UNAUTHENTICATED"])
        assert words in answer.json()["errors"][0]["message"]
        assert answer.headers["www-authenticate"] == "Bearer"
        assert given[21:] not in answer.text
    told = capsys.readouterr()
    assert secret[21:] not in told.out + told.err


async def test_a_key_in_a_cookie_is_ignored(serving: Serving, key_admin: ApiKeyAdmin) -> None:
    """Otherwise anyone who can set a cookie for this site could act as a key through every page a person opens."""
    secret, _ = await make(key_admin)
    async with serving(
        CLERK_SECRET_KEY="sk_test_" + "0" * 24,
        NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY="pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
        CLERK_WEBHOOK_SIGNING_SECRET="whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    ) as client:
        cookie = await post_query(client, READ_MESSAGES, cookie=f"__session={secret}")
        assert (cookie.status_code, error_codes(cookie)) == (401, ["UNAUTHENTICATED"])
        assert (await post_query(client, READ_MESSAGES, authorization=f"Bearer {secret}")).status_code == 200


async def test_metrics_are_read_with_a_key_that_may(client: httpx.AsyncClient, key_admin: ApiKeyAdmin) -> None:
    may, _ = await make(key_admin, Scope.OPERATIONS_READ)
    may_not, _ = await make(key_admin, Scope.MESSAGES_READ)
    found = [
        (await client.get("/metrics", headers={"authorization": f"Bearer {secret}"})).status_code
        for secret in (may, may_not)
    ]
    assert found == [200, 401]


async def test_a_test_keys_message_remembers_what_it_is(
    client: httpx.AsyncClient, key_admin: ApiKeyAdmin, owner: asyncpg.Pool
) -> None:
    secret, _ = await make(key_admin, kind=KeyKind.TEST)
    query = SEND_MESSAGE.replace("message { status }", "message { id }")
    assert (await post_query(client, query, authorization=f"Bearer {secret}")).json()["data"]["sendMessage"]["message"]
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE simulated_only") == 1


async def test_a_test_key_message_is_refused_for_a_live_provider(serving: Serving, key_admin: ApiKeyAdmin) -> None:
    secret, _ = await make(key_admin, kind=KeyKind.TEST)
    query = SEND_MESSAGE.replace(
        "message { status }", "message { id } errors { __typename ... on UserError { message path } }"
    )
    async with serving(TWILIO_API_BASE="https://api.twilio.com") as client:
        found = (await post_query(client, query, authorization=f"Bearer {secret}")).json()["data"]["sendMessage"]
    assert found["message"] is None
    [error] = found["errors"]
    assert (error["__typename"], error["path"]) == (
        "IntegrationUnavailableError",
        ["input", "route", "0", "channel"],
    )
    assert "twilio is not simulated" in error["message"]


async def test_keys_whose_maker_is_gone_are_marked_in_the_list_and_revoked_where_that_is_wanted(
    edge_urls: Urls, owner: asyncpg.Pool, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bia makes a key with her session; she leaves, and Clerk's events about it are applied."""
    bia, organization = f"user_{uuid4().hex}", f"org_{uuid4().hex}"
    said = claims(sub=bia, o={"id": organization, "rol": "admin"})
    create = """mutation { createApiKey(input: {name: "hers", scopes: [MESSAGES_READ]}) { secret } }"""
    async with serving(**CLERK_SETTINGS) as client:
        made = await post_query(client, create, authorization=f"Bearer {token(said)}")
        secret = made.json()["data"]["createApiKey"]["secret"]
        tenant = await owner.fetchval("SELECT id FROM tenants WHERE clerk_organization_id = $1", organization)
        assert "gone" not in await shown(edge_urls, tenant)
        worker = build_application(edge_urls, DATABASE_URL=edge_urls.worker)
        left = DirectoryChanged("k", "t", "", Membership(bia, organization), datetime.now(UTC), is_deleted=True)
        async with worker.database.transaction() as connection:
            await apply_directory_event(connection, worker.sealer, left)
        listed = await shown(edge_urls, tenant, "--orphaned")
        assert f"made by {bia}, who was deleted, banned or left" in listed
        assert "API_KEYS_END_WITH_MAKER=true" in listed
        [one] = json.loads(await shown(edge_urls, tenant, "--json"))
        assert (one["isOrphaned"], one["revokedAt"]) == (True, None)
        # It is accepted until it is revoked, by a caller or by the setting.
        monkeypatch.setattr(noun, "_ORPHANS", 0.0)
        await revoke_orphaned_keys(worker)
        assert (await post_query(client, READ_MESSAGES, authorization=f"Bearer {secret}")).status_code == 200
        await worker.close()
        strict = build_application(edge_urls, DATABASE_URL=edge_urls.worker, API_KEYS_END_WITH_MAKER="true")
        await revoke_orphaned_keys(strict)
        await strict.close()
        asked = partial(post_query, client, READ_MESSAGES, authorization=f"Bearer {secret}")
        await until(asked, lambda answer: answer.status_code == 401, 5)
    [one] = json.loads(await shown(edge_urls, tenant, "--json"))
    assert (one["isOrphaned"], bool(one["revokedAt"])) == (False, True)
    assert await owner.fetchval("SELECT action FROM audit_events WHERE tenant_id = $1 AND kind = 'SYSTEM'", tenant)


async def revoke_orphaned_keys(worker: App) -> None:
    """One turn of the worker's loop."""
    [turn] = [loop.turn for loop in build_worker(worker).loops if loop.name == "orphaned keys"]
    await turn()


async def shown(urls: Urls, tenant: object, *options: str) -> str:
    """What the command line says of a tenant's keys; with `--json` on stdout alone."""
    environment = {"DATABASE_URL": urls.app, "ENCRYPTION_KEYS": f"k1:{ENCRYPTION_KEY}", "APP_ENV": "test"}
    arguments = ["api-keys", "list", "--tenant", str(tenant), *options]
    done = await asyncio.to_thread(CliRunner(env=environment).invoke, interalpha, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout if "--json" in options else done.output
