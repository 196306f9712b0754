"""Whether a port is free, asked before anything is started on it."""

import socket
import time

from api.cli.failures import Failure

_PATIENCE_SECONDS = 0.5


def ensure_free(host: str, port: int, remedy: str) -> None:
    """Raise Failure when the port cannot be listened on; one that an ended process just held gets a moment."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failure(f"Port {port} of {host} cannot be used: {error.strerror}. {remedy}") from None
        time.sleep(0.02)
