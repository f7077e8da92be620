"""Submitting a number on the first page, with and without JavaScript."""

import re
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from fizzbuzz import rules
from tests.browser.first_page import (
    SET_HIDDEN,
    UNREACHABLE,
    answer,
    count,
    field,
    let_pass,
    newest,
    stop_clock,
    submit,
    xhr_urls,
)
from tests.inputs import REJECTED_BY_FORM
from tests.service import Service


def test_answer_appears_in_place_and_is_all_that_the_status_says(page: Page, service: Service) -> None:
    page.goto("/")
    expect(field(page)).to_be_focused()

    page.keyboard.type("45")
    page.keyboard.press("Enter")

    expect(answer(page)).to_have_text("FizzBuzz")
    expect(page.get_by_role("status").and_(page.locator("#answer"))).to_have_text(
        re.compile(r"\s*FizzBuzz\s*Number45\s*Submitted1 time\s*Rank1\s*")
    )
    expect(page.get_by_text("Share it:")).to_be_visible()
    expect(page).to_have_url(f"{service.address}/")

    page.keyboard.type("46")  # without clearing the field
    page.keyboard.press("Enter")
    expect(answer(page)).to_have_text("46")
    assert (count(service, 45), count(service, 46)) == (1, 1)


def test_own_submission_is_the_first_of_the_latest_at_once_and_stays(page: Page, service: Service) -> None:
    stop_clock(page)
    page.goto("/")
    urls = xhr_urls(page)

    submit(page, "1000005")

    expect(newest(page)).to_contain_text("1000005 FizzBuzz")
    page.evaluate(SET_HIDDEN, True)  # noqa: FBT003 - the function's argument
    page.evaluate(SET_HIDDEN, False)  # noqa: FBT003 - the function's argument
    page.clock.fast_forward(4_900)  # a copy of the live data in a cache may still be older
    assert urls == [f"{service.address}/"]
    let_pass()  # the page's clock is ahead of the service's
    page.clock.fast_forward(200)
    expect(page.get_by_role("region", name="Latest").get_by_role("listitem").first).to_contain_text("1000005")
    assert urls[1:] == [f"{service.address}/live"]


class SlowNetwork:
    """Holds a page's submissions until they are passed on."""

    def __init__(self, page: Page) -> None:
        self.held: list[Route] = []
        page.route("/", self._hold)

    def _hold(self, route: Route) -> None:
        self.held.append(route)

    def wait_for(self, page: Page, submissions: int) -> None:
        while len(self.held) < submissions:
            page.wait_for_timeout(10)


def test_answer_keeps_what_was_typed_in_the_meantime(page: Page) -> None:
    page.goto("/")
    network = SlowNetwork(page)
    submit(page, "11")
    network.wait_for(page, 1)

    field(page).fill("12")
    network.held[0].continue_()

    expect(answer(page)).to_have_text("11")
    expect(field(page)).to_have_value("12")


def test_number_entered_while_another_is_on_its_way_is_sent_after_it(page: Page, service: Service) -> None:
    page.goto("/")
    network = SlowNetwork(page)
    submit(page, "51")
    expect(page.get_by_text("Sending 51 …")).to_be_visible()
    field(page).press("Enter")  # the same once more is the same submission

    submit(page, "52")

    expect(page.get_by_text("Sending 51. 52 is next.")).to_be_visible()
    expect(field(page)).not_to_be_editable()
    network.held[0].continue_()
    expect(answer(page)).to_have_text("Fizz")
    network.wait_for(page, 2)
    network.held[1].continue_()
    expect(answer(page)).to_have_text("52")
    expect(field(page)).to_be_editable()
    expect(page.get_by_text("Sending")).to_have_count(0)
    assert (count(service, 51), count(service, 52), len(network.held)) == (1, 1, 2)


@pytest.mark.parametrize("fault", ["unreachable", "error", "invalid"])
def test_number_entered_before_another_failed_stays_in_the_field(page: Page, faults: list[str], fault: str) -> None:
    first = "x" if fault == "invalid" else "53"
    page.goto("/")
    network = SlowNetwork(page)
    submit(page, first)
    network.wait_for(page, 1)
    submit(page, "54")

    match fault:
        case "unreachable":
            network.held[0].abort()
        case "error":
            network.held[0].fulfill(status=503, body='<div id="problem">Unavailable.</div>')
        case "invalid":
            network.held[0].continue_()

    expect(page.get_by_text(f"No result for {first}. 54 is not sent yet.")).to_be_visible()
    expect(field(page)).to_be_editable()
    expect(field(page)).to_have_value("54")
    assert len(network.held) == 1
    faults.clear()  # htmx and the browser log the failure


def test_invalid_number_shows_an_error_at_the_field(either: Page, service: Service) -> None:
    either.goto("/")
    before = service.request("/api/fizzbuzz").json()["results"]

    for text in REJECTED_BY_FORM:
        with either.expect_response(lambda response: response.request.method == "POST") as response:
            submit(either, text)

        assert response.value.status == 422
        expect(field(either)).to_have_value(text.replace("\x00", "�"))
        expect(field(either)).to_have_attribute("aria-invalid", "true")
        expect(field(either)).to_have_accessible_description(re.compile(re.escape(rules.EXPECTED) + "$"))
        expect(field(either)).to_be_focused()

    submit(either, "15")
    expect(answer(either)).to_have_text("FizzBuzz")
    expect(either.get_by_text(rules.EXPECTED)).to_have_count(0)
    assert service.request("/api/fizzbuzz").json()["results"][1:] == before[:99]


def double_click(page: Page) -> None:
    page.get_by_role("button", name="Submit").dblclick()


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


@pytest.mark.parametrize(
    ("press", "number"), [(double_click, 74), (double_click_slower_than_the_answer, 76), (hold_enter, 77)]
)
def test_impatience_counts_once(page: Page, service: Service, press: Callable[[Page], None], number: int) -> None:
    page.goto("/")
    field(page).fill(str(number))

    press(page)

    expect(answer(page)).to_have_text(str(number))
    submit(page, "79")
    expect(answer(page)).to_have_text("79")
    assert count(service, number) == 1


@pytest.mark.parametrize("recorded", [True, False])
def test_retries_count_once_until_one_is_answered(
    page: Page, service: Service, faults: list[str], recorded: bool
) -> None:
    number = 86 if recorded else 82
    responses: list[int] = [0, 503, 500, 429, 422, 413, 409, 408, 403]  # 0: lost
    keys: list[str] = []

    def fail(route: Route) -> None:
        keys.extend(parse_qs(route.request.post_data or "")["key"])
        if recorded and len(keys) == 1:
            route.fetch()
        if status := responses[len(keys) - 1]:
            route.fulfill(status=status, body=f'<div id="answer"><p id="problem">{status}</p></div>')
        else:
            route.abort()

    page.goto("/")
    page.route("/", fail)
    for attempt, status in enumerate(responses):
        submit(page, [f"{number}", f" {number}\u200b", f"+0{number}"][attempt % 3])
        if status:
            expect(page.locator("#answer")).to_have_text(str(status))
        else:
            expect(page.get_by_role("alert")).to_have_text(UNREACHABLE)
    page.unroute("/")

    submit(page, "88")  # another number's answer says nothing about it
    expect(answer(page)).to_have_text("88")
    submit(page, str(number))
    expect(page.locator("dd")).to_contain_text(["1 time"])
    assert count(service, number) == 1
    submit(page, str(number))
    expect(page.locator("dd")).to_contain_text(["2 times"])
    assert len(set(keys)) == 1
    faults.clear()  # htmx and the browser log the failures


def test_reload_counts_nothing(either: Page, service: Service) -> None:
    before = count(service, 90)
    either.goto("/")
    submit(either, "90")
    expect(answer(either)).to_have_text("FizzBuzz")

    either.reload()
    either.reload()

    assert count(service, 90) == before + 1


@pytest.mark.parametrize("cached", [True, False], ids=["with back/forward cache", "without back/forward cache"])
def test_same_number_counts_again_after_back(launch: Callable[..., Browser], service: Service, cached: bool) -> None:
    number = 105 if cached else 135
    # Playwright turns off the back/forward cache by default.
    browser = launch(ignore_default_args=["--disable-back-forward-cache"] if cached else [])
    page = browser.new_page(base_url=service.address, java_script_enabled=False)

    page.goto("/")
    for times in range(1, 4):
        submit(page, str(number))
        expect(page).to_have_url(f"{service.address}/numbers/{number}")
        assert count(service, number) == times
        page.go_back(wait_until="commit")  # a page from the cache fires no load event
        expect(field(page)).to_be_visible()

    assert count(service, number) == 3
    browser.close()


def test_page_restored_by_back_refreshes_and_counts(launch: Callable[..., Browser], service: Service) -> None:
    browser = launch(ignore_default_args=["--disable-back-forward-cache"])
    page = browser.new_page(base_url=service.address)
    page.goto("/")
    submit(page, "165")
    expect(answer(page)).to_have_text("FizzBuzz")
    page.get_by_role("link", name="Statistics").click()
    service.request("/api/fizzbuzz", {"number": 166})
    let_pass()

    page.go_back(wait_until="commit")

    expect(newest(page)).to_contain_text("166")
    submit(page, "165")
    expect(page.locator("dd")).to_contain_text(["165", "2 times"])
    assert count(service, 165) == 2
    browser.close()
