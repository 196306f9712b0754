"""Idempotency: one key, one request, one resource; a concurrent request waits and gets the resource of the first."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from core.database import Database
from core.errors import IdempotencyConflict, InvalidInput
from core.idempotency import IdempotentRequest, claim_key, delete_expired_keys
from core.ports.identity import DEFAULT_TENANT
from core.sealing import Sealer

PATH = ["input", "idempotencyKey"]
SEALER = Sealer({"k1": b"k" * 32})
INPUT = {"to": "+5511987654321", "content": "Olá"}


def request(given: Any = INPUT, key: str = "order-1", **changes: Any) -> IdempotentRequest:
    where = {"sealer": SEALER, "tenant": DEFAULT_TENANT, "path": PATH, "operation": "sendMessage"} | changes
    return IdempotentRequest.of(key, where.pop("operation"), given, **where)


def test_the_same_input_in_another_order_is_the_same() -> None:
    assert request(dict(reversed(INPUT.items()))) == request()


@pytest.mark.parametrize(
    "other",
    [
        request({**INPUT, "content": "Olá!"}),
        request({"to": INPUT["to"]}),
        request(operation="refundPayment"),
        request(tenant=uuid4()),
        request(sealer=Sealer({"k1": b"x" * 32})),
    ],
)
def test_anything_else_is_another_request(other: IdempotentRequest) -> None:
    assert set(other.fingerprints).isdisjoint(request().fingerprints)


def test_a_fingerprint_says_nothing_of_the_input() -> None:
    # One says its key; the other is as earlier versions wrote it.
    named, bare = request().fingerprints
    assert len(bare) == 16
    assert named.endswith(bare)
    assert b"987" not in named


@pytest.mark.parametrize("key", ["k", "k" * 255, "pedido-ção/2026#1", "🧾"])
def test_most_texts_can_be_keys(key: str) -> None:
    assert request(key=key).key == key


@pytest.mark.parametrize(
    ("key", "rule"),
    [
        ("", "TOO_SHORT"),
        ("  ", "TOO_SHORT"),
        (" \t", "MALFORMED"),
        ("k" * 256, "TOO_LONG"),
        ("a\nb", "MALFORMED"),
        ("a\x00", "MALFORMED"),
        ("\ud800", "MALFORMED"),
    ],
)
def test_some_texts_cannot_be_keys(key: str, rule: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        request(key=key)
    assert (refused.value.path, refused.value.rule) == (tuple(PATH), rule)


async def claim(database: Database, wanted: IdempotentRequest, resource: UUID) -> UUID | None:
    async with database.transaction(DEFAULT_TENANT) as connection:
        return await claim_key(connection, DEFAULT_TENANT, wanted, resource)


async def test_the_first_takes_the_key_and_the_second_is_given_what_it_made(app_database: Database) -> None:
    first = uuid4()
    assert await claim(app_database, request(), first) is None
    assert await claim(app_database, request(), uuid4()) == first


async def test_a_concurrent_request_waits_for_the_first(app_database: Database) -> None:
    first = uuid4()
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        assert await claim_key(connection, DEFAULT_TENANT, request(), first) is None
        second = asyncio.create_task(claim(app_database, request(), uuid4()))
        done, _ = await asyncio.wait([second], timeout=0.1)
        assert done == set()
    assert await second == first


async def test_when_the_first_fails_the_second_takes_the_key(app_database: Database) -> None:
    second: asyncio.Task[UUID | None] | None = None
    with pytest.raises(ZeroDivisionError):
        async with app_database.transaction(DEFAULT_TENANT) as connection:
            await claim_key(connection, DEFAULT_TENANT, request(), uuid4())
            second = asyncio.create_task(claim(app_database, request(), uuid4()))
            await asyncio.wait([second], timeout=0.05)
            raise ZeroDivisionError
    assert second is not None
    assert await second is None


async def test_other_input_under_the_same_key_is_a_conflict(app_database: Database) -> None:
    await claim(app_database, request(), uuid4())
    with pytest.raises(IdempotencyConflict, match="'order-1'"):
        await claim(app_database, request({"content": "outra"}), uuid4())


async def test_after_a_change_of_encryption_keys_a_request_is_still_the_same(app_database: Database) -> None:
    first = uuid4()
    await claim(app_database, request(), first)
    rotated = Sealer({"k2": b"n" * 32, "k1": b"k" * 32})
    assert await claim(app_database, request(sealer=rotated), uuid4()) == first


async def test_a_key_can_be_reused_after_it_has_expired(app_database: Database) -> None:
    await claim(app_database, request(), uuid4())
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        await connection.execute(text("UPDATE idempotency_keys SET expires_at = now()"))
    second = uuid4()
    assert await claim(app_database, request({"content": "outra"}), second) is None
    assert await claim(app_database, request({"content": "outra"}), uuid4()) == second


async def test_a_key_is_kept_for_seven_days(app_database: Database) -> None:
    await claim(app_database, request(), uuid4())
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        kept = await connection.execute(text("SELECT expires_at - created_at FROM idempotency_keys"))
        assert kept.scalar_one().days == 7


async def test_keys_whose_time_is_over_are_forgotten_a_few_at_a_time(
    app_database: Database, worker_database: Database
) -> None:
    for number in range(5):
        await claim(app_database, request(key=f"order-{number}"), uuid4())
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        await connection.execute(text("UPDATE idempotency_keys SET expires_at = now() WHERE key <> 'order-3'"))
    assert [await delete_expired_keys(worker_database, limit=3) for _ in range(3)] == [3, 1, 0]
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        kept = (await connection.execute(text("SELECT key FROM idempotency_keys"))).scalars().all()
    assert kept == ["order-3"]


async def test_a_key_reused_during_cleanup_is_kept(app_database: Database, worker_database: Database) -> None:
    await claim(app_database, request(), uuid4())
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        await connection.execute(text("UPDATE idempotency_keys SET expires_at = now()"))
    second = uuid4()
    async with app_database.transaction(DEFAULT_TENANT) as connection:
        assert await claim_key(connection, DEFAULT_TENANT, request(), second) is None
        forgetting = asyncio.create_task(delete_expired_keys(worker_database))
        done, _ = await asyncio.wait([forgetting], timeout=0.1)
        assert done == set()
    assert await forgetting == 0
    assert await claim(app_database, request(), uuid4()) == second
