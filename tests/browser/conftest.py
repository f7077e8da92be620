"""Fixtures for tests in Debian's Chromium against the real gunicorn."""

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests import template
from tests.service import TIMEOUT_SECONDS, Service, serving

expect.set_options(timeout=TIMEOUT_SECONDS * 500)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
# The browser logs this for each response with an error status.
STATUS = re.compile(r"Failed to load resource: the server responded with a status of \d+ .*")
# htmx logs these when a submission aborts a refresh. For a failed request, it logs another event as well.
ABORTED = re.compile(r"htmx:(afterRequest|sendAbort), .*")


@pytest.fixture(scope="package")
def shared_data_dir() -> Iterator[Path]:
    """A data folder for all tests in browsers, which submit different numbers."""
    with template.data_dir() as folder:
        yield folder


@pytest.fixture(scope="package")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir), CORS_ORIGINS="*") as service:
        yield service


@pytest.fixture(scope="package")
def launch() -> Iterator[Callable[..., Browser]]:
    """Start a browser. Takes the options of Playwright's `launch`."""
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        yield partial(playwright.chromium.launch, executable_path=CHROMIUM, args=QUIET)


@pytest.fixture(scope="package")
def browser(launch: Callable[..., Browser]) -> Iterator[Browser]:
    browser = launch()
    yield browser
    browser.close()


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


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def either(visit: Visit, request: pytest.FixtureRequest) -> Page:
    return visit(java_script_enabled=request.param)
