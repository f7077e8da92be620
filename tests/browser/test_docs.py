import pytest
from playwright.sync_api import Locator, Page, expect

from tests.service import Service


def execute(page: Page, operation: str, field: str, text: str) -> Locator:
    """Fill in an operation of the documentation, and return its response."""
    page.goto("/docs")
    block = page.locator(f"#operations-{operation}")
    block.click()
    block.locator(field).fill(text)
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table td.response-col_description").last


def test_docs_show_64_bit_integers_exactly(page: Page) -> None:
    shown = execute(page, "numbers-numbers_retrieve", "[placeholder=number]", "9007199254740993")

    expect(shown).to_contain_text("9007199254740993")


def test_docs_send_64_bit_integers_exactly(page: Page) -> None:
    shown = execute(page, "fizzbuzz-fizzbuzz_create", "textarea", '{"number": 9007199254740993}')

    expect(shown).to_contain_text('"number": 9007199254740993')


def test_documented_javascript_parses_64_bit_integers(page: Page, service: Service) -> None:
    page.goto("/docs")

    code = service.request("/api/schema?format=json").json()["info"]["description"].split("```")[1].removeprefix("js")
    read = page.evaluate(f"""async () => {{
        const text = await (await fetch("/api/numbers/9223372036854775807")).text()
        const read = {code}
        return [String(read.number), read.count, read.kind]
    }}""")

    assert read == ["9223372036854775807", 0, "Number"]


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


@pytest.mark.parametrize("path", ["/admin/", "/api/", "/api/fizzbuzz", "/api/most_common"])  # test_access visits others
def test_pages_comply_with_their_content_security_policy(page: Page, path: str) -> None:
    page.goto(path, wait_until="networkidle")
