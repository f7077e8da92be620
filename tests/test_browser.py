from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.service import Service, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SMALLEST = "-9223372036854775808"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: apt-get install chromium")


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir)) as service:
        yield service


@pytest.fixture(scope="module", params=[True, False], ids=["with JavaScript", "without JavaScript"])
def javascript(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# Swagger UI is JavaScript, and DRF's pages show their forms by it; the document and the addresses are there without.
with_javascript = pytest.mark.parametrize("javascript", [True], indirect=True, ids=["with JavaScript"])


@pytest.fixture
def page(service: Service, javascript: bool) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(base_url=service.address, java_script_enabled=javascript)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.extend(re.findall(".*Content Security.*", message.text)))
        yield page
        browser.close()
    assert faults == []


def test_submitted_number_is_classified_and_counted(page: Page, service: Service) -> None:
    before = service.request("/api/numbers/45").json()["count"]
    page.goto("/")
    expect(page.get_by_label("Which number?")).to_be_focused()

    page.keyboard.type("45")
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{service.address}/numbers/45")
    expect(page.get_by_role("heading")).to_have_text("FizzBuzz")
    page.reload()
    assert service.request("/api/numbers/45").json()["count"] == before + 1


def test_invalid_number_is_told_beside_the_field(page: Page) -> None:
    page.goto("/")

    page.get_by_label("Which number?").fill("15.5")
    page.get_by_role("button", name="Submit").click()

    field = page.get_by_label("Which number?")
    expect(field).to_have_value("15.5")
    expect(field).to_have_accessible_description(
        f"Enter a whole number from {SMALLEST} to 9223372036854775807, such as 15 or -3."
    )


@pytest.mark.parametrize("width", [320, 3840])
def test_longest_number_fits(page: Page, service: Service, width: int) -> None:
    service.request("/api/fizzbuzz", {"number": int(SMALLEST)})
    page.set_viewport_size({"width": width, "height": 640})

    for path in ("/", f"/numbers/{SMALLEST}"):
        page.goto(path)
        assert page.locator("body").evaluate("body => body.scrollWidth <= document.documentElement.clientWidth")


@with_javascript
def test_docs_show_numbers_past_2_to_the_53_exactly(page: Page) -> None:
    page.goto("/docs")
    operation = page.locator("#operations-numbers-numbers_retrieve")
    operation.click()

    operation.get_by_placeholder("number").fill("9007199254740993")
    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table td.response-col_description").last).to_contain_text(
        "9007199254740993"
    )


@with_javascript
def test_browsable_api_takes_a_form(page: Page) -> None:
    page.goto("/api/fizzbuzz")

    page.locator("form:visible input[name=number]").fill("9007199254740993")
    page.locator("form:visible").get_by_role("button", name="POST").click()

    expect(page.locator(".response-info")).to_contain_text('"number": 9007199254740993')
    expect(page.locator(".response-info")).to_contain_text("201 Created")


@with_javascript
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/numbers/15",
        "/stats",
        "/docs",
        "/docs/problems",
        "/nowhere",
        "/admin/",
        "/api/",
        "/api/fizzbuzz",
        "/api/most_common",
    ],
)
def test_pages_keep_to_their_content_security_policy(page: Page, path: str) -> None:
    page.goto(path, wait_until="networkidle")


FETCH = """([address, options]) =>
    fetch(address, options).then(response => response.json()).catch(error => error.name)"""


@with_javascript
def test_page_of_elsewhere_may_read_and_no_more(page: Page, service: Service, data_dir: Path) -> None:
    json = {"method": "POST", "body": '{"number": 15}', "headers": {"Content-Type": "application/json"}}
    form = {"method": "POST", "body": "number=7", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}

    def fetch(path: str, options: Any = None) -> Any:
        return page.evaluate(FETCH, [shared.address + path, options or {}])

    with serving(DATA_DIR=str(data_dir), CORS_ORIGINS=service.address) as shared:
        page.goto("/api/numbers/15?format=json")  # of another port, so of another origin; what is no page has no policy
        read = fetch("/api/numbers/15")
        posted = [fetch("/api/fizzbuzz", json), fetch("/api/fizzbuzz", form)]
        counts = [shared.request(f"/api/numbers/{number}").json()["count"] for number in (15, 7)]
        elsewhere = fetch("/info")

    assert read == {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz", "count": 0}
    assert posted == ["TypeError", "TypeError"]
    assert counts == [0, 1]  # a form of elsewhere arrives, as it always did; its answer stays unread
    assert elsewhere == "TypeError"
