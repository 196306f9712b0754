"""The roles and the database of a new PostgreSQL: one that migrates, two that get their rights from it."""

from collections.abc import Mapping

import asyncpg

DATABASE = "interalpha"
OWNER = "interalpha_migrate"
ROLES = (OWNER, "interalpha_app", "interalpha_worker")


async def make_roles(superuser: asyncpg.Connection, passwords: Mapping[str, str]) -> None:
    """Make what is missing; the owner of the database owns its schema `public` with it."""
    # A statement that fails is logged, and these hold passwords.
    await superuser.execute("SET log_min_error_statement = panic")
    known = {row["rolname"] for row in await superuser.fetch("SELECT rolname FROM pg_roles")}
    for role in ROLES:
        if role not in known:
            await superuser.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{passwords[role]}'")
    if not await superuser.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", DATABASE):
        await superuser.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
