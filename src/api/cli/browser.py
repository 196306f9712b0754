"""Opening a page in the person's browser, where there are a person and a browser."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress


async def open_browser(address: str) -> None:
    """Ask the desktop to open a page; without one nothing happens."""
    opener = find_opener(sys.platform, os.environ)
    if opener is None:
        return
    # Who cannot start a browser can still read the address in the terminal.
    with suppress(OSError):
        nowhere = asyncio.subprocess.DEVNULL
        await asyncio.create_subprocess_exec(
            opener, address, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )


def find_opener(platform: str, environment: Mapping[str, str]) -> str | None:
    """Name the desktop's own program for it; `webbrowser` would take a browser that draws over the terminal, too."""
    if platform == "darwin":
        return shutil.which("open")
    has_desktop = any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return shutil.which("xdg-open") if has_desktop else None
