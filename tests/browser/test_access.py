"""Accessibility, color schemes and widths of screens."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from fizzbuzz import rules
from tests.browser.conftest import Visit
from tests.browser.first_page import answer, field, submit
from tests.service import Service

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOK = "heading => { const look = getComputedStyle(heading); return `${look.fontStyle} ${look.fontWeight}` }"
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
NUMBERS = ["/numbers/15", f"/numbers/{rules.SMALLEST}", "/numbers/8"]


def assert_accessible(page: Page) -> None:
    found = Axe().run(page, options={"runOnly": TAGS}).response["violations"]
    assert [(each["id"], node["html"]) for each in found for node in each["nodes"]] == []


@SCHEMES
@pytest.mark.parametrize("path", ["/", *NUMBERS, "/stats", "/docs", "/docs/problems", "/nowhere"])
def test_axe_finds_nothing(visit: Visit, service: Service, path: str, scheme: str) -> None:
    service.request("/api/fizzbuzz/batch", {"numbers": [15, 15, 15, 9, 9, 20, 7, rules.SMALLEST]})
    page = visit(color_scheme=scheme, viewport={"width": 390, "height": 800})

    page.goto(path)
    expect(page.locator(".opblock" if path == "/docs" else "main").first).to_be_visible()
    if path == "/stats":
        page.get_by_text("Show as a table").click()
        expect(page.get_by_role("img")).to_have_accessible_name("Submissions of the last hour, by kind")
        expect(page.get_by_role("img")).to_have_accessible_description(
            re.compile(r"\d+ in all: .*\. At most \d+ per minute\.")
        )

    assert_accessible(page)


@SCHEMES
def test_axe_finds_nothing_in_answers(visit: Visit, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.goto("/")

    for text, result in {"9": "Fizz", "20": "Buzz", "15": "FizzBuzz", str(rules.SMALLEST): str(rules.SMALLEST)}.items():
        submit(page, text)
        expect(answer(page)).to_have_text(result)
        assert_accessible(page)
    submit(page, "15.5")
    expect(field(page)).to_have_attribute("aria-invalid", "true")
    assert_accessible(page)


@pytest.mark.parametrize(
    ("path", "place", "style", "colors"),
    [
        ("/", "body", "background-color", ("rgb(253, 252, 250)", "rgb(23, 22, 20)")),
        ("/docs", "body", "background-color", ("rgb(253, 252, 250)", "rgb(23, 22, 20)")),
        ("/docs", ".opblock-summary-description >> nth=0", "color", ("rgb(59, 65, 81)", "rgb(228, 230, 230)")),
    ],
)
def test_pages_follow_the_scheme(page: Page, path: str, place: str, style: str, colors: tuple[str, str]) -> None:
    page.goto(path)

    for is_dark in (True, False, True):
        page.emulate_media(color_scheme="dark" if is_dark else "light")
        expect(page.locator(place)).to_have_css(style, colors[is_dark])


@pytest.mark.parametrize("width", [320, 390, 3840])
@pytest.mark.parametrize("number", [45, rules.SMALLEST])
def test_nothing_is_wider_than_the_screen(visit: Visit, service: Service, width: int, number: int) -> None:
    service.request("/api/fizzbuzz/batch", {"numbers": [number] * 5})
    page = visit(viewport={"width": width, "height": 640})

    for path in ("/", f"/numbers/{number}", "/stats?window=month", "/docs/problems", "/nowhere"):
        page.goto(path)
        if path.startswith("/stats"):
            page.get_by_text("Show as a table").click()
        if path == "/":
            submit(page, str(number))
            expect(page.locator("#answer .facts")).to_be_visible()
        assert page.locator("html").evaluate("html => html.scrollWidth <= html.clientWidth")


def test_kinds_differ_without_color(page: Page) -> None:
    looks = set()
    for number in (9, 20, 15, 7):
        page.goto(f"/numbers/{number}")
        looks.add(page.get_by_role("heading").evaluate(LOOK))

    assert looks == {"italic 400", "normal 800", "italic 800", "normal 700"}


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
