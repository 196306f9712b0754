"""The Explorer in a real browser, as a person opens it beside `make dev`: it works, and it keeps to this machine."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from api.dev import web
from tests.browser.chromium import Watched, chromium, watch
from tests.cli.running import Dev, interalpha, running_dev

TABS = ["Companies", "History", "SendSms", "SendEmail", "Watch", "RemindMany", "SendTemplate"]
# The editor starts several workers, and CI has two cores.
PATIENCE = 15_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def dev(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dev]:
    web.build()
    with running_dev(tmp_path_factory.mktemp("dev") / "data", EXPLORER="on") as running:
        yield running


@pytest.fixture
async def watched(browser: Browser, dev: Dev) -> AsyncIterator[Watched]:
    """The Explorer, opened at the address that `make dev` shows."""
    context = await browser.new_context(viewport={"width": 1440, "height": 810}, color_scheme="light")
    context.set_default_timeout(PATIENCE)
    watched = await watch(context)
    await watched.page.goto(f"http://localhost:{dev.port}/")
    await expect(watched.page.get_by_role("tab", name="Watch")).to_be_visible()
    yield watched
    await context.close()


# GraphiQL reads the operation a moment after a tab was chosen, and stores which tab it is a moment later still.
SETTLED = "index => JSON.parse(localStorage['interalpha:graphiql:tabState'] ?? '{}').activeTabIndex === index"


async def run(page: Page, tab: str, *shown: str) -> None:
    """Run the operation of a tab as it stands, and see the answer."""
    await page.get_by_role("tab", name=tab).click()
    await page.wait_for_function(SETTLED, arg=TABS.index(tab))
    await page.get_by_role("button", name="Execute query").click()
    for words in shown:
        await expect(page.locator(".result-window")).to_contain_text(words)


async def test_query_mutation_and_subscription_run_as_they_stand(watched: Watched, dev: Dev) -> None:
    page = watched.page
    assert page.url == f"http://localhost:{dev.port}/graphiql/"
    assert [await tab.inner_text() for tab in await page.get_by_role("tab").all()][: len(TABS)] == TABS
    await run(page, "Companies", "Twilio SMS", "SIMULATED")
    await run(page, "SendSms", '"status": "QUEUED"', '"errors": []')
    await run(page, "SendEmail", '"isReplay": false')
    await run(page, "SendEmail", '"isReplay": true')
    await run(page, "History", '"channel": "SMS"', '"channel": "EMAIL"')
    await run(page, "Watch")
    await expect(page.get_by_role("button", name="Stop query")).to_be_visible()
    sent = interalpha(dev.folder, "send", "sms", "+5511987654321", "x")
    assert sent.returncode == 0, sent.stderr
    await expect(page.locator(".result-window")).to_contain_text('"status": "DELIVERED"')
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / "graphiql.png")
    await page.get_by_role("button", name="Stop query").click()
    assert watched.problems == []
    assert watched.hosts == {f"localhost:{dev.port}"}


async def test_the_schema_is_read_and_the_token_given_again_but_never_kept(watched: Watched) -> None:
    page = watched.page
    await page.reload()
    await run(page, "Companies", "Twilio SMS")
    await expect(page.locator(".graphiql-explorer-root")).to_contain_text("webhookUrl")
    await page.get_by_role("button", name="Show Documentation Explorer").click()
    await expect(page.locator(".graphiql-doc-explorer")).to_contain_text("One API for everything the business says")
    kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "Companies" in kept
    assert "iadev_" not in kept
    assert watched.problems == []


async def test_what_the_policy_forbids_would_have_been_noticed(watched: Watched) -> None:
    page = watched.page
    async with page.expect_console_message(lambda message: message.text.startswith("CSP http://127.0.0.1:9")):
        await page.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")
    async with page.expect_console_message(lambda message: message.text.startswith("CSP inline")):
        await page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '0'}))")
    assert len(watched.problems) >= 2
