"""The button that copies the link to a number."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.first_page import submit
from tests.service import Service

NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
DENY_CLIPBOARD = """() => {
    navigator.clipboard.writeText = () => Promise.reject(new DOMException("", "NotAllowedError"));
}"""


def copy(page: Page, status: str) -> None:
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("copy-link").get_by_role("status")).to_have_text(status)


def test_button_copies_the_link_and_announces_it(visit: Visit, service: Service) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.goto("/numbers/9")
    copy(page, "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"{service.address}/numbers/9"

    page.goto("/")
    submit(page, "18")
    copy(page, "Copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"{service.address}/numbers/18"

    page.evaluate(DENY_CLIPBOARD)
    copy(page, "Not copied: the browser did not allow it.")


def test_no_button_without_a_clipboard(page: Page) -> None:
    """As over plain http from another machine."""
    page.add_init_script(NO_CLIPBOARD)
    page.goto("/numbers/15")

    expect(page.locator("copy-link")).to_be_empty()
    expect(page.get_by_role("button")).to_have_count(0)
