"""What waits for an encryption key that this process lacks: so that it is said aloud, and not only left alone."""

from collections.abc import Mapping

import structlog
from sqlalchemy import ARRAY, LargeBinary, bindparam, text

from core.database import Database
from core.sealing import Sealer, is_readable

log = structlog.get_logger(__name__)

_MOST = 1_000


def _due(table: str, column: str, condition: str) -> str:
    return f"""
        SELECT '{table}' AS place, substring({column}, 3, get_byte({column}, 1)) AS key FROM {table}
        WHERE {condition} AND due_at <= now() AND NOT {is_readable(column)} LIMIT {_MOST}"""  # noqa: S608  # constants


_WAITING = text(f"""
SELECT place, key, count(*) AS number FROM (
    ({_due("messages", "to_sealed", "status = 'QUEUED' AND lease_until IS NULL")}
    ) UNION ALL ({_due("inbox", "event_sealed", "status = 'RECEIVED'")}
    ) UNION ALL ({_due("erasures", "recipient_sealed", "finished_at IS NULL")}
    )
) waiting GROUP BY place, key ORDER BY key, place
""").bindparams(bindparam("keys", type_=ARRAY(LargeBinary)))  # noqa: S608  # constants


async def waits_for(database: Database, sealer: Sealer) -> Mapping[str, Mapping[str, int]]:
    """Count what is due and lies under a key that is missing here, by its id and by table, up to 1,000 of each."""
    async with database.transaction() as connection:
        rows = (await connection.execute(_WAITING, {"keys": sealer.encoded_names})).all()
    found: dict[str, dict[str, int]] = {}
    for row in rows:
        found.setdefault(bytes(row.key).decode(errors="replace"), {})[row.place] = row.number
    return found


def tell(found: Mapping[str, Mapping[str, int]]) -> None:
    """Say in the log which key is missing, never its value, and how much waits for it."""
    for key, places in found.items():
        log.error(
            "key_missing",
            key=key,
            **places,
            advice="put it behind the current one in ENCRYPTION_KEYS of every process: docs/how-to/lost-keys.md",
        )
