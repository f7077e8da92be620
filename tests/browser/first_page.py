"""Steps on the first page."""

import time

from playwright.sync_api import Locator, Page

from fizzbuzz.pages.rendered import MAX_AGE_SECONDS

UNREACHABLE = "The service is unreachable. Submit the number again in a moment; it will be counted once."
SET_HIDDEN = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


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
