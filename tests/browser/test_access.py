"""Pages are accessible, in both color schemes and on screens of all widths; the first one is light, and stable."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response, expect

from fizzbuzz import rules
from fizzbuzz.pages import rendered
from tests.browser.conftest import answer, field, submit
from tests.service import Service

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOR_RULES = ["color-contrast", "link-in-text-block"]
LOOK = "answer => { const look = getComputedStyle(answer); return `${look.fontStyle} ${look.fontWeight}` }"
NUMBERS = ["/numbers/15", f"/numbers/{rules.SMALLEST}", "/numbers/8"]
MAX_BYTES = 40_000
FOREVER = "max-age=315360000, public, immutable"
SHIFTS = """() => new Promise((resolve) => {
    const count = (list) => list.getEntries().filter((each) => !each.hadRecentInput).length;
    const observer = new PerformanceObserver((list) => resolve(count(list)));
    observer.observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve(0), 500);
})"""


def assert_accessible(page: Page) -> None:
    """Assert that nothing is wider than the screen, and that axe finds nothing, in either color scheme."""
    for width in (3840, 320, 390):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.locator("html").evaluate("html => html.scrollWidth <= html.clientWidth")
    for is_dark in (False, True):
        page.emulate_media(color_scheme="dark" if is_dark else "light")
        # Colors change in a transition.
        page.evaluate("Promise.allSettled(document.getAnimations().map(each => each.finished)).then(() => {})")
        found = Axe().run(page, options={"runOnly": COLOR_RULES if is_dark else TAGS}).response["violations"]
        assert [(each["id"], node["html"]) for each in found for node in each["nodes"]] == []


@pytest.mark.parametrize("path", [*NUMBERS, "/stats?window=month", "/docs", "/docs/problems", "/nowhere"])
def test_pages_are_accessible(page: Page, service: Service, path: str) -> None:
    service.request("/api/fizzbuzz/batch", {"numbers": [15, 15, 15, 9, 9, 20, 7, rules.SMALLEST]})

    page.goto(path)
    expect(page.locator(".opblock" if path == "/docs" else "main").first).to_be_visible()
    if path.startswith("/stats"):
        page.get_by_text("Show as a table").click()
        expect(page.get_by_role("img")).to_have_accessible_name("Submissions of the last 30 days, by kind")
        expect(page.get_by_role("img")).to_have_accessible_description(
            re.compile(r"\d+ in all: .*\. At most \d+ per day\.")
        )

    assert_accessible(page)


def test_first_page_and_its_answers_are_accessible_and_kinds_differ_without_color(page: Page) -> None:
    page.goto("/")
    assert_accessible(page)

    looks = set()
    for text, result in {"9": "Fizz", "20": "Buzz", "15": "FizzBuzz", str(rules.SMALLEST): str(rules.SMALLEST)}.items():
        submit(page, text)
        expect(answer(page)).to_have_text(result)
        looks.add(answer(page).evaluate(LOOK))
        assert_accessible(page)
    assert looks == {"italic 400", "normal 800", "italic 800", "normal 700"}
    submit(page, "15.5")
    expect(field(page)).to_have_attribute("aria-invalid", "true")
    assert_accessible(page)


def test_pages_follow_the_scheme(page: Page) -> None:
    background = ("body", "background-color", "rgb(253, 252, 250)", "rgb(23, 22, 20)")
    operation = (".opblock-summary-description >> nth=0", "color", "rgb(59, 65, 81)", "rgb(228, 230, 230)")

    for path, looks in (("/", [background]), ("/docs", [background, operation])):
        page.goto(path)
        for is_dark in (True, False, True):
            page.emulate_media(color_scheme="dark" if is_dark else "light")
            for place, style, *colors in looks:
                expect(page.locator(place)).to_have_css(style, colors[is_dark])


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


def test_first_page_is_light_and_nothing_of_it_shifts(page: Page, service: Service) -> None:
    service.request("/api/fizzbuzz/batch", {"numbers": [15, 15, 9, 7, 20, rules.SMALLEST]})
    responses: dict[str, Response] = {}
    page.on("response", lambda response: responses.update({response.url: response}))

    page.goto("/", wait_until="networkidle")

    assert page.evaluate(SHIFTS) == 0
    sizes = [each.request.sizes() for each in responses.values()]
    assert sum(each["responseHeadersSize"] + each["responseBodySize"] for each in sizes) < MAX_BYTES
    cached = {
        re.sub(r"\.\w{12}", "", url.rpartition("/")[2]): response.headers["cache-control"]
        for url, response in responses.items()
        if "favicon" not in url  # a busy browser loads it later
    }
    files = ["chart.css", "copy-link.js", "elements.css", "home.css", "htmx-2.min.js", "live.js", "tokens.css"]
    assert cached == {"": rendered.CACHE_CONTROL, **dict.fromkeys(files, FOREVER)}

    submit(page, "15")
    expect(answer(page)).to_have_text("FizzBuzz")
    assert page.evaluate(SHIFTS) == 0
