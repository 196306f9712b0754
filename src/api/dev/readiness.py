"""Asking our own API whether it is ready, without the second an HTTP library takes to import."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from api.embedded.folder import LOOPBACK

_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 5.0
_PATIENCE_SECONDS = 15.0


async def until_ready(port: int, say: Callable[[str, str], None]) -> None:
    """Wait until /health/ready says so; every quarter of a minute say what is still missing."""
    loop = asyncio.get_running_loop()
    patience = loop.time() + _PATIENCE_SECONDS
    while (parts := await _unready_parts(port)) != {}:
        if loop.time() > patience:
            missing = "; ".join(f"{name}: {part.get('detail', '')}" for name, part in (parts or {}).items())
            say("waiting", missing or "the API does not answer yet")
            patience += _PATIENCE_SECONDS
        await asyncio.sleep(_POLL_SECONDS)


async def _unready_parts(port: int) -> dict[str, dict[str, Any]] | None:
    """Return what is not ready; None while nobody answers."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(b"GET /health/ready HTTP/1.0\r\nHost: localhost\r\n\r\n")
                body = (await reader.read()).partition(b"\r\n\r\n")[2]
            finally:
                writer.close()
        parts: dict[str, dict[str, Any]] = json.loads(body)["parts"]
    except (OSError, TimeoutError, ValueError, KeyError):
        return None
    return {name: part for name, part in parts.items() if not part["ok"]}
