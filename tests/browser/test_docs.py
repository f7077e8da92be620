import pytest
from playwright.sync_api import Page, expect

from tests.service import Service


def test_docs_show_64_bit_integers_exactly(page: Page) -> None:
    page.goto("/docs")
    operation = page.locator("#operations-numbers-numbers_retrieve")
    operation.click()

    operation.get_by_placeholder("number").fill("9007199254740993")
    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table td.response-col_description").last).to_contain_text(
        "9007199254740993"
    )


def test_documented_javascript_parses_64_bit_integers(page: Page, service: Service) -> None:
    page.goto("/docs")

    code = service.request("/api/schema?format=json").json()["info"]["description"].split("```")[1].removeprefix("js")
    read = page.evaluate(f"""async () => {{
        const text = await (await fetch("/api/numbers/9223372036854775807")).text()
        const read = {code}
        return [String(read.number), read.count, read.kind]
    }}""")

    assert read == ["9223372036854775807", 0, "Number"]


def test_docs_send_64_bit_integers_exactly(page: Page) -> None:
    page.goto("/docs")
    operation = page.locator("#operations-fizzbuzz-fizzbuzz_create")
    operation.click()
    expect(operation.get_by_text("application/json")).not_to_have_count(0)
    expect(operation.get_by_text("x-www-form-urlencoded")).to_have_count(0)

    operation.locator("textarea").fill('{"number": 9007199254740993}')
    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table td.response-col_description").last).to_contain_text(
        '"number": 9007199254740993'
    )


def test_browsable_page_submits_json_and_keeps_it_after_an_error(page: Page) -> None:
    page.goto("/api/fizzbuzz")
    content, send = page.get_by_label("Content:"), page.get_by_role("button", name="POST")

    content.fill('{"number": 9007199254740993 }x')
    send.click()
    expect(page.locator(".response-info")).to_contain_text("400 Bad Request")
    expect(content).to_have_value('{"number": 9007199254740993 }x')

    content.fill('{"number": 9007199254740993}')
    send.click()
    expect(page.locator(".response-info")).to_contain_text("201 Created")
    expect(page.locator(".response-info")).to_contain_text('"number": 9007199254740993')


def test_buttons_of_browsable_pages_react_to_the_mouse(page: Page) -> None:
    page.goto("/api/fizzbuzz")

    page.get_by_role("button", name="OPTIONS").click()
    expect(page.locator(".request-info")).to_contain_text("OPTIONS /api/fizzbuzz")

    page.get_by_role("link", name="GET", exact=True).click()
    expect(page.locator(".request-info")).to_contain_text("GET /api/fizzbuzz")

    page.get_by_role("button", name="Extra Actions").click()
    page.get_by_role("link", name="Batch").click()
    expect(page.locator(".request-info")).to_contain_text("GET /api/fizzbuzz/batch")


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
def test_pages_comply_with_their_content_security_policy(page: Page, path: str) -> None:
    page.goto(path, wait_until="networkidle")


def test_docs_follow_the_color_scheme(page: Page) -> None:
    page.goto("/docs")
    colors = {"light": ("rgb(253, 252, 250)", "rgb(59, 65, 81)"), "dark": ("rgb(23, 22, 20)", "rgb(228, 230, 230)")}

    for scheme in ("dark", "light", "dark"):
        page.emulate_media(color_scheme=scheme)

        background, text = colors[scheme]
        expect(page.locator("body")).to_have_css("background-color", background)
        expect(page.locator(".opblock-summary-description").first).to_have_css("color", text)
