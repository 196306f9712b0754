"""Ports that stay ours while nobody listens on them: outside the range the system gives to connections by itself."""

import random
import socket

# Linux gives 32768 and more to whoever connects, others 49152 and more; below 20000 live servers people know.
_FIRST, _LAST = 20_000, 32_000
# Two runs at once must not draw the same ports in the same order, whatever they are seeded with.
_draw = random.SystemRandom()


def quiet_port() -> int:
    """Find one that is free now."""
    for _ in range(100):
        port = _draw.randrange(_FIRST, _LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no quiet port is free")
