"""Fixtures for tests in Debian's Chromium against the real gunicorn, and steps on the first page."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect, sync_playwright

from fizzbuzz.pages.rendered import MAX_AGE_SECONDS
from tests import template
from tests.service import SHORT_SHUTDOWN, TIMEOUT_SECONDS, Service, serving

expect.set_options(timeout=TIMEOUT_SECONDS * 500)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
# The browser logs this for each response with an error status.
STATUS = re.compile(r"Failed to load resource: the server responded with a status of \d+ .*")
# htmx logs these when a submission aborts a refresh. For a failed request, it logs another event as well.
ABORTED = re.compile(r"htmx:(afterRequest|sendAbort), .*")

UNREACHABLE = "The service is unreachable. Submit the number again in a moment; it will be counted once."
SET_HIDDEN = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="package")
def shared_data_dir() -> Iterator[Path]:
    """A data folder for all tests in browsers, which submit different numbers."""
    with template.data_dir() as folder:
        yield folder


@pytest.fixture(scope="package")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir), CORS_ORIGINS="*", **SHORT_SHUTDOWN) as service:
        yield service


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        # Playwright turns off the back/forward cache by default.
        switched_on = ["--disable-back-forward-cache"]
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET, ignore_default_args=switched_on)


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """Errors and warnings in the pages' consoles. Tests that expect some remove them."""
    faults: list[str] = []
    yield faults
    assert faults == []


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, service: Service, faults: list[str]) -> Iterator[Visit]:
    """Open a page in a new browser context. Takes the options of Playwright's `new_context`."""
    visitors: list[BrowserContext] = []

    def collect(message: ConsoleMessage) -> None:
        expected = STATUS.fullmatch(message.text) or ABORTED.fullmatch(message.text)
        if message.type in {"error", "warning"} and not expected:
            faults.append(message.text)

    def visit(**options: Any) -> Page:
        visitors.append(browser.new_context(**{"base_url": service.address, **options}))
        page = visitors[-1].new_page()
        page.on("console", collect)
        page.on("pageerror", lambda error: faults.append(str(error)))
        return page

    yield visit
    for visitor in visitors:
        visitor.close()


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit()


def field(page: Page) -> Locator:
    return page.get_by_label("Which number?")


def submit(page: Page, text: str) -> None:
    field(page).fill(text)
    field(page).press("Enter")


def answer(page: Page) -> Locator:
    return page.locator(".answer")


def newest(page: Page) -> Locator:
    return page.get_by_role("region", name="Latest").get_by_role("listitem").first


def let_pass() -> None:
    """Wait until the rendered first page is too old to be served again."""
    time.sleep(MAX_AGE_SECONDS + 0.1)


def stop_clock(page: Page) -> None:
    """Stop the page's clock, so that timers run only when the test advances it."""
    page.clock.install(time=0)
    page.clock.pause_at(1)


def xhr_urls(page: Page) -> list[str]:
    """Return a list that collects the URLs of the page's XHR requests from now on."""
    urls: list[str] = []
    page.on("request", lambda each: urls.extend([each.url] if each.resource_type == "xhr" else []))
    return urls
