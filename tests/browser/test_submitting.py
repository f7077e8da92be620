"""Submitting a number on the first page, with and without JavaScript, and copying the link to its page."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Page, Route, expect

from fizzbuzz import rules
from tests.browser.conftest import UNREACHABLE, Visit, answer, field, let_pass, newest, submit
from tests.raw import recorded
from tests.service import Service

INVALID = "１５"
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', { value: undefined })"
DENY_CLIPBOARD = """() => {
    navigator.clipboard.writeText = () => Promise.reject(new DOMException("", "NotAllowedError"));
}"""


def test_answer_appears_in_place_and_is_all_that_the_status_says(page: Page, service: Service) -> None:
    page.goto("/")
    expect(field(page)).to_be_focused()

    page.keyboard.type("45")
    page.keyboard.press("Enter")

    expect(answer(page)).to_have_text("FizzBuzz")
    expect(page.get_by_role("status").and_(page.locator("#answer"))).to_have_text(
        re.compile(r"\s*FizzBuzz\s*Number45\s*Submitted1 time\s*Rank\d+\s*")
    )
    expect(page.get_by_text("Share it:")).to_be_visible()
    expect(page).to_have_url(f"{service.address}/")

    page.keyboard.type("46")  # without clearing the field
    page.keyboard.press("Enter")
    expect(answer(page)).to_have_text("46")
    assert (recorded(service, 45), recorded(service, 46)) == (1, 1)


class SlowNetwork:
    """Holds a page's submissions until they are passed on."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.held: list[Route] = []
        page.route("/", self._hold)

    def _hold(self, route: Route) -> None:
        self.held.append(route)

    def take(self) -> Route:
        """Wait for a submission, and take it out."""
        while not self.held:
            self._page.wait_for_timeout(10)
        return self.held.pop()


def test_number_entered_while_another_is_on_its_way_stays_and_is_sent_after_it(page: Page, service: Service) -> None:
    page.goto("/")
    network = SlowNetwork(page)
    submit(page, "11")
    first = network.take()
    field(page).fill("51")
    first.continue_()
    expect(answer(page)).to_have_text("11")
    expect(field(page)).to_have_value("51")

    field(page).press("Enter")
    expect(page.get_by_text("Sending 51 …")).to_be_visible()
    field(page).press("Enter")  # the same once more is the same submission
    submit(page, "52")

    expect(page.get_by_text("Sending 51. 52 is next.")).to_be_visible()
    expect(field(page)).not_to_be_editable()
    network.take().continue_()
    expect(answer(page)).to_have_text("Fizz")
    network.take().continue_()
    expect(answer(page)).to_have_text("52")
    expect(field(page)).to_be_editable()
    expect(page.get_by_text("Sending")).to_have_count(0)
    assert (recorded(service, 51), recorded(service, 52), network.held) == (1, 1, [])


def test_number_entered_before_another_failed_stays_in_the_field(page: Page, faults: list[str]) -> None:
    fails: list[tuple[str, Callable[[Route], None]]] = [
        ("53", lambda route: route.abort()),
        ("53", lambda route: route.fulfill(status=503, body='<div id="problem">Unavailable.</div>')),
        (INVALID, lambda route: route.continue_()),
    ]
    page.goto("/")
    network = SlowNetwork(page)
    for first, fail in fails:
        submit(page, first)
        submission = network.take()
        submit(page, "54")

        fail(submission)

        expect(page.get_by_text(f"No result for {first}. 54 is not sent yet.")).to_be_visible()
        expect(field(page)).to_be_editable()
        expect(field(page)).to_have_value("54")
        assert network.held == []
    faults.clear()  # htmx and the browser log the failures


@pytest.mark.parametrize("scripted", [True, False])
def test_invalid_number_shows_an_error_at_the_field(visit: Visit, service: Service, scripted: bool) -> None:
    page = visit(java_script_enabled=scripted)
    page.goto("/")
    before = service.request("/api/fizzbuzz").json()["results"]

    with page.expect_response(lambda response: response.request.method == "POST") as response:
        submit(page, INVALID)

    assert response.value.status == 422
    expect(field(page)).to_have_value(INVALID)
    expect(field(page)).to_have_attribute("aria-invalid", "true")
    expect(field(page)).to_have_accessible_description(re.compile(re.escape(rules.EXPECTED) + "$"))
    expect(field(page)).to_be_focused()

    submit(page, "15")
    expect(answer(page)).to_have_text("FizzBuzz")
    expect(page.get_by_text(rules.EXPECTED)).to_have_count(0)
    assert service.request("/api/fizzbuzz").json()["results"][1:] == before[:99]


def double_click_slower_than_the_answer(page: Page) -> None:
    page.get_by_role("button", name="Submit").hover()
    for click in (1, 2):
        page.mouse.down(click_count=click)
        page.mouse.up(click_count=click)
        expect(answer(page)).to_be_visible()


def hold_enter(page: Page) -> None:
    for _ in range(5):  # without keyup in between, the browser marks them as repeats
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")


def test_impatience_counts_once(page: Page, service: Service) -> None:
    for press, number in (
        (lambda page: page.get_by_role("button", name="Submit").dblclick(), 74),
        (double_click_slower_than_the_answer, 76),
        (hold_enter, 77),
    ):
        page.goto("/")  # without an answer
        field(page).fill(str(number))

        press(page)

        expect(answer(page)).to_have_text(str(number))
        submit(page, "79")
        expect(answer(page)).to_have_text("79")
        assert recorded(service, number) == 1


def test_retries_count_once_until_one_is_answered(page: Page, service: Service, faults: list[str]) -> None:
    responses = [0, 503, 500, 429, 422, 413, 409, 408, 403]  # 0: recorded, and the response is lost
    keys: list[str] = []

    def fail(route: Route) -> None:
        keys.extend(parse_qs(route.request.post_data or "")["key"])
        if status := responses[len(keys) - 1]:
            route.fulfill(status=status, body=f'<div id="answer"><p id="problem">{status}</p></div>')
        else:
            route.fetch()
            route.abort()

    page.goto("/")
    page.route("/", fail)
    for attempt, status in enumerate(responses):
        submit(page, ["86", " 86\u200b", "+086"][attempt % 3])
        if status:
            expect(page.locator("#answer")).to_have_text(str(status))
        else:
            expect(page.get_by_role("alert")).to_have_text(UNREACHABLE)
    page.unroute("/")

    submit(page, "88")  # another number's answer says nothing about it
    expect(answer(page)).to_have_text("88")
    submit(page, "86")
    expect(answer(page)).to_have_text("86")
    expect(page.locator("dd")).to_contain_text(["1 time"])
    assert recorded(service, 86) == 1
    submit(page, "86")
    expect(page.locator("dd")).to_contain_text(["2 times"])
    assert len(set(keys)) == 1
    faults.clear()  # htmx and the browser log the failures


def test_same_number_counts_again_after_back(visit: Visit, service: Service) -> None:
    page = visit(java_script_enabled=False)
    page.goto("/")
    for times in range(1, 4):
        submit(page, "105")
        expect(page).to_have_url(f"{service.address}/numbers/105")
        assert recorded(service, 105) == times
        page.go_back(wait_until="commit")  # a page from the cache fires no load event
        expect(field(page)).to_be_visible()
    assert recorded(service, 105) == 3


def test_page_restored_by_back_refreshes_and_counts(page: Page, service: Service) -> None:
    page.goto("/")
    submit(page, "165")
    expect(answer(page)).to_have_text("FizzBuzz")
    page.get_by_role("link", name="Statistics").click()
    service.request("/api/fizzbuzz", {"number": 166})
    let_pass()

    page.go_back(wait_until="commit")

    expect(newest(page)).to_contain_text("166", timeout=8_000)  # before the next refresh
    submit(page, "165")
    expect(page.locator("dd")).to_contain_text(["165", "2 times"])
    assert recorded(service, 165) == 2


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
