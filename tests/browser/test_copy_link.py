"""The button that copies the link to a number."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.first_page import answer, submit
from tests.service import Service

NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
DENIED_CLIPBOARD = "navigator.clipboard.writeText = () => Promise.reject(new DOMException('', 'NotAllowedError'))"
ALLOWED = {"permissions": ["clipboard-read", "clipboard-write"]}


def copy(page: Page) -> None:
    page.get_by_role("button", name="Copy link").click()


def status(page: Page) -> Locator:
    return page.locator("copy-link").get_by_role("status")


@pytest.mark.parametrize("path", ["/numbers/9", "/"], ids=["page of a number", "answer"])
def test_button_copies_the_link_and_announces_it(visit: Visit, service: Service, path: str) -> None:
    page = visit(**ALLOWED)
    page.goto(path)
    if path == "/":
        submit(page, "9")
    expect(answer(page)).to_have_text("Fizz")

    copy(page)

    expect(status(page)).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"{service.address}/numbers/9"


def test_button_says_if_the_browser_denies_the_clipboard(page: Page) -> None:
    page.add_init_script(DENIED_CLIPBOARD)
    page.goto("/numbers/15")

    copy(page)

    expect(status(page)).to_have_text("Not copied: the browser did not allow it.")


def test_no_button_without_a_clipboard(page: Page) -> None:
    """As over plain http from another machine."""
    page.add_init_script(NO_CLIPBOARD)
    page.goto("/numbers/15")

    expect(page.locator("copy-link")).to_be_empty()
    expect(page.get_by_role("button")).to_have_count(0)
