from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.service import SHORT_SHUTDOWN, Service, serving

FETCH = """([address, options]) =>
    fetch(address, options).then(response => response.json()).catch(error => error.name)"""


def test_page_of_another_origin_can_only_read(page: Page, service: Service, faults: list[str], data_dir: Path) -> None:
    json = {"method": "POST", "body": '{"number": 15}', "headers": {"Content-Type": "application/json"}}
    form = {"method": "POST", "body": "number=7", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}

    def fetch(path: str, options: Any = None) -> Any:
        return page.evaluate(FETCH, [shared.address + path, options or {}])

    with serving(DATA_DIR=str(data_dir), CORS_ORIGINS=service.address, **SHORT_SHUTDOWN) as shared:
        page.goto(
            "/api/numbers/15?format=json"
        )  # another port, so another origin; only HTML pages have a content security policy
        read = fetch("/api/numbers/15")
        posted = [fetch("/api/fizzbuzz", json), fetch("/api/fizzbuzz", form)]
        counts = [shared.request(f"/api/numbers/{number}").json()["count"] for number in (15, 7)]
        elsewhere = fetch("/info")

    assert read == {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz", "count": 0}
    assert posted[0] == "TypeError"
    assert posted[1]["status"] == 415  # a form needs no preflight
    assert counts == [0, 0]
    assert elsewhere == "TypeError"
    faults.clear()  # the browser logs the blocked requests
