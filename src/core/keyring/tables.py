"""The secret of the look-up hashes that are never made anew, sealed under the current encryption key."""

from sqlalchemy import Column, DateTime, LargeBinary, Table, Uuid, func

from core.database import metadata

lookup_keys = Table(
    "lookup_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("secret_sealed", LargeBinary, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
