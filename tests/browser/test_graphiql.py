"""The Explorer in a real browser, as a person opens it beside `make dev`: it works and connects to no other host."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from devkit import pages
from tests.browser.chromium import Watched, chromium, watch
from tests.cli.processes import Dev, run_interalpha, running_dev

TABS = ["Integrations", "History", "SendSms", "SendWhatsApp", "SendEmail", "Watch", "RemindMany", "SendTemplate"]
# The editor starts several workers, and CI has two cores.
PATIENCE = 15_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def dev(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dev]:
    pages.build()
    with running_dev(tmp_path_factory.mktemp("dev") / "data", EXPLORER="on") as running:
        yield running


@asynccontextmanager
async def opened(browser: Browser, dev: Dev, width: int = 1440, height: int = 810) -> AsyncIterator[Watched]:
    """The Explorer, opened at the address that `make dev` shows, in a window of some size."""
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme="light")
    context.set_default_timeout(PATIENCE)
    watched = await watch(context)
    await watched.page.goto(f"http://localhost:{dev.port}/")
    await expect(watched.page.get_by_role("tab", name="Watch")).to_be_visible()
    yield watched
    await context.close()


@pytest.fixture
async def watched(browser: Browser, dev: Dev) -> AsyncIterator[Watched]:
    async with opened(browser, dev) as found:
        yield found


async def run(page: Page, tab: str, *shown: str) -> None:
    """Run the operation of a tab as it stands, and see the answer."""
    await page.get_by_role("tab", name=tab).click()
    # At once: GraphiQL by itself would send this operation under the name of the tab before.
    await page.get_by_role("button", name="Execute query").click()
    for words in shown:
        await expect(page.locator(".result-window")).to_contain_text(words)


async def test_query_mutation_and_subscription_run_as_they_stand(watched: Watched, dev: Dev) -> None:
    page = watched.page
    assert page.url == f"http://localhost:{dev.port}/graphiql/"
    assert [await tab.inner_text() for tab in await page.get_by_role("tab").all()][: len(TABS)] == TABS
    await run(page, "Integrations", "Twilio SMS", "SIMULATED")
    await run(page, "SendSms", '"status": "QUEUED"', '"errors": []')
    await run(page, "SendWhatsApp", '"status": "QUEUED"', '"errors": []')
    await run(page, "SendEmail", '"isReplay": false')
    await run(page, "SendEmail", '"isReplay": true')
    await run(page, "History", '"channel": "EMAIL"', '"channel": "WHATSAPP"')
    await run(page, "Watch")
    await expect(page.get_by_role("button", name="Stop query")).to_be_visible()
    await expect(page.get_by_role("status")).to_contain_text("Listening. No event yet")
    sent = run_interalpha(dev.folder, "send", "sms", "+5511987654321", "x")
    assert sent.returncode == 0, sent.stderr
    await expect(page.locator(".result-window")).to_contain_text('"status": "DELIVERED"')
    await expect(page.get_by_role("status")).to_contain_text("so far; the newest is shown")
    if folder := os.environ.get("SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / "graphiql.png")
    await page.get_by_role("button", name="Stop query").click()
    await expect(page.get_by_role("status")).to_have_count(0)
    assert watched.problems == []
    assert watched.hosts == {f"localhost:{dev.port}"}


async def test_the_schema_is_read_and_the_token_given_again_but_never_kept(watched: Watched) -> None:
    page = watched.page
    await page.reload()
    await run(page, "Integrations", "Twilio SMS")
    await page.get_by_role("button", name="Show GraphiQL Explorer").click()
    await expect(page.locator(".graphiql-explorer-root")).to_contain_text("webhookUrl")
    await page.get_by_role("button", name="Show Documentation Explorer").click()
    await expect(page.locator(".graphiql-doc-explorer")).to_contain_text("One API for everything a business says")
    kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "Integrations" in kept
    assert "iadev_" not in kept
    assert watched.problems == []


async def test_an_answer_that_arrives_late_is_not_shown_in_another_tab(watched: Watched) -> None:
    page = watched.page
    answered = asyncio.Event()

    async def late(route: Route) -> None:
        response = await route.fetch()
        await answered.wait()
        await route.fulfill(response=response)

    await page.get_by_role("tab", name="History").click()
    await page.route("**/graphql", late)
    await page.get_by_role("button", name="Execute query").click()
    await page.get_by_role("tab", name="Integrations").click()
    async with page.expect_event("requestfinished", lambda request: "graphql" in request.url):
        answered.set()
    await page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    await expect(page.locator(".result-window .view-lines")).to_have_text("")


CUT = """() => [...document.querySelectorAll('.graphiql-query-editor .view-line')]
  .map(line => [line.textContent, line.firstElementChild.getBoundingClientRect().right])
  .filter(([, right]) => right > document.querySelector('.graphiql-toolbar').getBoundingClientRect().left)"""


@pytest.mark.parametrize("width", [1280, 1400])
async def test_every_tab_and_every_line_of_its_code_fits_the_window(browser: Browser, dev: Dev, width: int) -> None:
    async with opened(browser, dev, width, 800) as watched:
        page = watched.page
        for tab in TABS:
            button = page.get_by_role("tab", name=tab)
            await button.click()
            await expect(page.locator(".graphiql-query-editor .view-lines")).to_contain_text(tab)
            box = await button.bounding_box()
            assert box is not None
            assert box["x"] >= 0, tab
            assert box["x"] + box["width"] <= width, tab
            assert await page.evaluate(CUT) == [], tab


async def test_it_can_be_used_on_a_phone(browser: Browser, dev: Dev) -> None:
    async with opened(browser, dev, 390, 844) as watched:
        page = watched.page
        await run(page, "SendSms", '"status": "QUEUED"')
        for place in (".graphiql-query-editor", ".result-window"):
            box = await page.locator(place).bounding_box()
            assert box is not None
            assert box["width"] >= 330, place
            assert box["height"] >= 200, place
            assert box["x"] >= 0, place
            assert box["x"] + box["width"] <= 390, place
            assert box["y"] + box["height"] <= 844, place
        await page.get_by_role("button", name="Show Documentation Explorer").click()
        await expect(page.locator(".graphiql-doc-explorer")).to_be_in_viewport()
        await page.get_by_role("button", name="Hide Documentation Explorer").click()
        await run(page, "History", '"channel": "SMS"')
        assert watched.problems == []


async def test_the_page_of_errors_is_styled_and_leads_to_a_code(browser: Browser, dev: Dev) -> None:
    async with opened(browser, dev, 390, 844) as watched:
        page = watched.page
        await page.goto(f"http://localhost:{dev.port}/docs/errors?lang=pt-BR#phone_lacks_ninth_digit")
        section = page.locator("#phone_lacks_ninth_digit")
        await expect(section).to_be_in_viewport()
        assert await section.evaluate("one => getComputedStyle(one).backgroundColor") != "rgba(0, 0, 0, 0)"
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        if folder := os.environ.get("SCREENSHOTS"):
            await page.screenshot(path=Path(folder) / "errors.png")
        await page.get_by_role("link", name="English").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Errors")
        assert watched.problems == []


async def test_what_the_policy_forbids_would_have_been_noticed(watched: Watched) -> None:
    page = watched.page
    async with page.expect_console_message(lambda message: message.text.startswith("CSP http://127.0.0.1:9")):
        await page.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")
    async with page.expect_console_message(lambda message: message.text.startswith("CSP inline")):
        await page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: '0'}))")
    assert len(watched.problems) >= 2
