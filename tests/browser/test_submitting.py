from __future__ import annotations

from playwright.sync_api import Page, Route, expect

from fizzbuzz import rules
from tests.browser.first_page import answer, count, field, submit
from tests.inputs import REFUSED_BY_FORM
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


def test_own_submission_shows_at_once(page: Page) -> None:
    page.goto("/")

    submit(page, "1000005")

    expect(page.get_by_role("region", name="Latest").get_by_role("listitem").first).to_contain_text("1000005 FizzBuzz")


def test_next_number_is_typed_at_once(page: Page, service: Service) -> None:
    page.goto("/")
    submit(page, "46")
    expect(answer(page)).to_have_text("46")

    page.keyboard.type("48")
    page.keyboard.press("Enter")

    expect(answer(page)).to_have_text("Fizz")
    assert (count(service, 46), count(service, 48)) == (1, 1)


def test_what_is_typed_before_the_answer_stays(page: Page) -> None:
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


def test_without_javascript_the_answer_is_the_numbers_page(plain: Page, service: Service) -> None:
    plain.goto("/")

    submit(plain, "60")

    expect(plain).to_have_url(f"{service.address}/numbers/60")
    expect(plain.get_by_role("heading")).to_have_text("FizzBuzz")


def test_invalid_numbers_are_told_beside_the_field(either: Page, service: Service) -> None:
    either.goto("/")
    before = service.request("/api/fizzbuzz").json()["results"]

    for text in REFUSED_BY_FORM:
        with either.expect_response(lambda response: response.request.method == "POST") as response:
            submit(either, text)

        assert response.value.status == 422
        expect(field(either)).to_have_value(text.replace("\x00", "�"))
        expect(field(either)).to_have_attribute("aria-invalid", "true")
        expect(field(either)).to_have_accessible_description(rules.EXPECTED)
        expect(field(either)).to_be_focused()

    submit(either, "15")
    expect(answer(either)).to_have_text("FizzBuzz")
    expect(either.get_by_text(rules.EXPECTED)).to_have_count(0)
    assert service.request("/api/fizzbuzz").json()["results"][1:] == before[:99]


def test_double_click_counts_once(either: Page, service: Service) -> None:
    before = count(service, 75)
    either.goto("/")
    field(either).fill("75")

    either.get_by_role("button", name="Submit").dblclick()

    expect(answer(either)).to_have_text("FizzBuzz")
    assert count(service, 75) == before + 1


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


def test_enter_that_is_held_counts_once(page: Page, service: Service) -> None:
    page.goto("/")
    field(page).fill("76")

    for _ in range(5):  # without a release the browser takes them for repeated ones
        page.keyboard.down("Enter")

    expect(answer(page)).to_have_text("76")
    assert count(service, 76) == 1


def test_refresh_counts_nothing(either: Page, service: Service) -> None:
    before = count(service, 90)
    either.goto("/")
    submit(either, "90")
    expect(answer(either)).to_have_text("FizzBuzz")

    either.reload()
    either.reload()

    assert count(service, 90) == before + 1


def test_step_back_and_the_same_number_again_counts(plain: Page, service: Service) -> None:
    plain.goto("/")
    submit(plain, "105")
    expect(plain).to_have_url(f"{service.address}/numbers/105")

    plain.go_back()
    assert count(service, 105) == 1
    submit(plain, "105")

    expect(plain).to_have_url(f"{service.address}/numbers/105")
    assert count(service, 105) == 2


def test_step_back_and_another_number_counts(either: Page, service: Service) -> None:
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


def test_keyboard_alone_is_enough(page: Page, service: Service) -> None:
    page.goto("/")
    page.keyboard.type("20")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Submit")).to_be_focused()
    page.keyboard.press("Space")
    expect(answer(page)).to_have_text("Buzz")
    expect(field(page)).to_be_focused()

    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="/numbers/20")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{service.address}/numbers/20")
