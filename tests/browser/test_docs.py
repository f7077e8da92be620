"""The API in a browser: its documentation, its browsable pages, and pages of other origins."""

from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.raw import recorded
from tests.service import Service

LARGE = "9007199254740993"  # JavaScript rounds it
FETCH = """([address, options]) =>
    fetch(address, options).then(response => response.json()).catch(error => error.name)"""


def execute(page: Page, operation: str, field: str, text: str) -> Locator:
    """Fill in an operation of the documentation, and return its response."""
    block = page.locator(f"#operations-{operation}")
    block.click()
    block.locator(field).fill(text)
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table td.response-col_description").last


def test_docs_show_send_and_document_64_bit_integers_exactly(page: Page, service: Service) -> None:
    page.goto("/docs")

    shown = execute(page, "numbers-numbers_retrieve", "[placeholder=number]", LARGE)
    expect(shown).to_contain_text(LARGE)
    shown = execute(page, "fizzbuzz-fizzbuzz_create", "textarea", f'{{"number": {LARGE}}}')
    expect(shown).to_contain_text(f'"number": {LARGE}')

    code = service.request("/api/schema?format=json").json()["info"]["description"].split("```")[1].removeprefix("js")
    read = page.evaluate(f"""async () => {{
        const text = await (await fetch("/api/numbers/{LARGE}")).text()
        const read = {code}
        return [String(read.number), read.count, read.kind]
    }}""")
    assert read == [LARGE, 1, "Fizz"]


def test_browsable_page_submits_json_keeps_it_after_an_error_and_reacts_to_the_mouse(page: Page) -> None:
    page.goto("/api/fizzbuzz")
    content, send = page.get_by_label("Content:"), page.get_by_role("button", name="POST")

    content.fill(f'{{"number": {LARGE} }}x')
    send.click()
    expect(page.locator(".response-info")).to_contain_text("400 Bad Request")
    expect(content).to_have_value(f'{{"number": {LARGE} }}x')

    content.fill(f'{{"number": {LARGE}}}')
    send.click()
    expect(page.locator(".response-info")).to_contain_text("201 Created")
    expect(page.locator(".response-info")).to_contain_text(f'"number": {LARGE}')

    page.get_by_role("button", name="OPTIONS").click()
    expect(page.locator(".request-info")).to_contain_text("OPTIONS /api/fizzbuzz")

    page.get_by_role("link", name="GET", exact=True).click()
    expect(page.locator(".request-info")).to_contain_text("GET /api/fizzbuzz")

    page.get_by_role("button", name="Extra Actions").click()
    page.get_by_role("link", name="Batch").click()
    expect(page.locator(".request-info")).to_contain_text("GET /api/fizzbuzz/batch")


def test_page_of_another_origin_can_only_read(page: Page, service: Service, faults: list[str]) -> None:
    # Another name, so another origin. Only HTML pages have a content security policy.
    page.goto(f"{service.address.replace('127.0.0.1', 'localhost')}/api/numbers/91?format=json")

    def fetch(path: str, **options: Any) -> Any:
        return page.evaluate(FETCH, [service.address + path, options])

    assert fetch("/api/numbers/91") == {"number": 91, "result": "91", "kind": "Number", "count": 0}
    assert fetch("/info") == "TypeError"
    json = {"Content-Type": "application/json"}
    assert fetch("/api/fizzbuzz", method="POST", body='{"number": 91}', headers=json) == "TypeError"
    form = {"Content-Type": "application/x-www-form-urlencoded"}  # needs no preflight
    assert fetch("/api/fizzbuzz", method="POST", body="number=91", headers=form)["status"] == 415
    assert recorded(service, 91) == 0
    faults.clear()  # the browser logs the blocked requests
