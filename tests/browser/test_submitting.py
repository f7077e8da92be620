from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from fizzbuzz import rules
from tests.browser.first_page import UNREACHABLE, answer, count, field, let_pass, newest, stop_clock, submit
from tests.inputs import REJECTED_BY_FORM
from tests.service import Service


def test_answer_appears_in_place(page: Page, service: Service) -> None:
    page.goto("/")
    expect(field(page)).to_be_focused()

    page.keyboard.type("45")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status").locator(".answer")).to_have_text("FizzBuzz")
    expect(page.get_by_role("status").locator("dd")).to_have_text(["45", "1 time", "1"])
    expect(page).to_have_url(f"{service.address}/")
    assert count(service, 45) == 1


def test_own_submission_appears_in_latest_within_about_a_second(page: Page) -> None:
    stop_clock(page)
    page.goto("/")

    submit(page, "1000005")
    expect(answer(page)).to_have_text("FizzBuzz")
    let_pass()
    page.clock.fast_forward(1_200)

    expect(newest(page)).to_contain_text("1000005 FizzBuzz")


def test_next_number_can_be_typed_without_clearing_the_field(page: Page, service: Service) -> None:
    page.goto("/")
    submit(page, "46")
    expect(answer(page)).to_have_text("46")

    page.keyboard.type("48")
    page.keyboard.press("Enter")

    expect(answer(page)).to_have_text("Fizz")
    assert (count(service, 46), count(service, 48)) == (1, 1)


def test_answer_keeps_what_was_typed_in_the_meantime(page: Page) -> None:
    page.goto("/")

    def slowly(route: Route) -> None:
        field(page).fill("12")
        route.continue_()

    page.route("/", slowly)
    submit(page, "11")

    expect(answer(page)).to_have_text("11")
    expect(field(page)).to_have_value("12")


def test_same_number_again_counts_again(page: Page, service: Service) -> None:
    page.goto("/")
    submit(page, "50")
    expect(page.locator("dd")).to_contain_text(["50", "1 time"])

    submit(page, "50")

    expect(page.locator("dd")).to_contain_text(["50", "2 times"])
    assert count(service, 50) == 2


def test_form_without_javascript_redirects_to_the_number_page(plain: Page, service: Service) -> None:
    plain.goto("/")

    submit(plain, "60")

    expect(plain).to_have_url(f"{service.address}/numbers/60")
    expect(plain.get_by_role("heading")).to_have_text("FizzBuzz")


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


def test_double_click_counts_once(page: Page, service: Service) -> None:
    page.goto("/")
    field(page).fill("75")

    page.get_by_role("button", name="Submit").dblclick()

    expect(answer(page)).to_have_text("FizzBuzz")
    assert count(service, 75) == 1


@pytest.mark.parametrize("fault", ["lost on the way", "lost on the way back", "unknown"])
def test_retried_submission_counts_once(page: Page, service: Service, faults: list[str], fault: str) -> None:
    number = {"lost on the way": "82", "lost on the way back": "86", "unknown": "88"}[fault]
    keys: list[str] = []

    def fail(route: Route) -> None:
        keys.extend(parse_qs(route.request.post_data or "")["key"])
        if len(keys) > 1:
            route.continue_()
            return
        if fault != "lost on the way":
            route.fetch()  # recorded
        if fault == "unknown":
            route.fulfill(status=503, body='<div id="problem">The outcome is unknown.</div>')
        else:
            route.abort()

    page.goto("/")
    page.route("/", fail)

    submit(page, number)
    if fault == "unknown":
        expect(page.get_by_text("The outcome is unknown.")).to_be_visible()
    else:
        expect(page.get_by_role("alert")).to_have_text(UNREACHABLE)
    submit(page, number)
    expect(answer(page)).to_have_text(number)
    again = count(service, int(number))
    submit(page, number)
    expect(page.locator("dd")).to_contain_text(["2 times"])

    assert again == 1
    assert (keys[0] == keys[1], keys[1] == keys[2]) == (True, False)
    faults.clear()  # htmx and the browser log the failure


def test_first_page_has_no_key_and_no_cookie(page: Page) -> None:
    page.goto("/")

    names = page.locator("form input").evaluate_all("inputs => inputs.map(input => input.name)")

    assert names == ["number"]
    assert page.context.cookies() == []


def test_double_click_slower_than_the_answer_counts_once(page: Page, service: Service) -> None:
    page.goto("/")
    field(page).fill("78")
    page.get_by_role("button", name="Submit").hover()

    page.mouse.down(click_count=1)
    page.mouse.up(click_count=1)
    expect(answer(page)).to_have_text("Fizz")
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)

    submit(page, "79")
    expect(answer(page)).to_have_text("79")
    assert count(service, 78) == 1


def test_holding_enter_counts_once(page: Page, service: Service) -> None:
    page.goto("/")
    field(page).fill("76")

    for _ in range(5):  # without keyup in between, the browser marks them as repeats
        page.keyboard.down("Enter")

    expect(answer(page)).to_have_text("76")
    assert count(service, 76) == 1


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


def test_another_number_counts_after_back(either: Page, service: Service) -> None:
    before = count(service, 61)
    either.goto("/")
    submit(either, "120")
    expect(answer(either)).to_have_text("FizzBuzz")
    either.goto("/numbers/7")

    either.go_back()
    if either.url.endswith("/numbers/120"):
        either.go_back()
    submit(either, "61")

    expect(answer(either)).to_have_text("61")
    assert count(service, 61) == before + 1


def test_page_is_usable_by_keyboard(page: Page, service: Service) -> None:
    page.goto("/")
    page.keyboard.type("20")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Submit")).to_be_focused()
    page.keyboard.press("Space")
    expect(answer(page)).to_have_text("Buzz")
    expect(page.locator(".htmx-added")).to_have_count(0)  # htmx focuses the field once more when it settles
    expect(field(page)).to_be_focused()

    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="/numbers/20")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{service.address}/numbers/20")
