"""A Chromium that reaches nothing but this machine, and a page of it that writes down everything it should not do."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: as root, as in most CI, there is none. No other host has an address. And nothing of its own to look up.
_FLAGS = (
    "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_NOTE_VIOLATIONS = "addEventListener('securitypolicyviolation', (event) => console.error('CSP', event.blockedURI))"


@dataclass
class Watched:
    """A page, and what happened in it that a person would not see; `hosts` are all it has spoken to."""

    page: Page
    problems: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def regret(self, request: Request) -> None:
        # A page that is left, or loaded again, drops what it was still loading.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"failed: {request.url} {request.failure}")

    def note(self, url: str) -> None:
        # `data:` and `blob:` have no host.
        if host := urlsplit(url).netloc:
            self.hosts.add(host)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, or another; without one the test is skipped, but never in CI."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have a Chromium: .ci/run installs it")
        pytest.skip("needs Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        await browser.close()


async def watch(context: BrowserContext) -> Watched:
    """Open a page and watch it."""
    await context.add_init_script(_NOTE_VIOLATIONS)
    watched = Watched(await context.new_page())
    watched.page.on("console", watched.hear)
    watched.page.on("pageerror", lambda error: watched.problems.append(str(error)))
    watched.page.on("websocket", lambda socket: watched.note(socket.url))
    context.on("request", lambda request: watched.note(request.url))
    context.on("requestfailed", watched.regret)
    return watched
