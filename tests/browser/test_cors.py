from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.service import SHORT_SHUTDOWN, Service, serving

FETCH = """([address, options]) =>
    fetch(address, options).then(response => response.json()).catch(error => error.name)"""


def test_page_of_elsewhere_may_read_and_no_more(
    page: Page, service: Service, faults: list[str], data_dir: Path
) -> None:
    json = {"method": "POST", "body": '{"number": 15}', "headers": {"Content-Type": "application/json"}}
    form = {"method": "POST", "body": "number=7", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}

    def fetch(path: str, options: Any = None) -> Any:
        return page.evaluate(FETCH, [shared.address + path, options or {}])

    with serving(DATA_DIR=str(data_dir), CORS_ORIGINS=service.address, **SHORT_SHUTDOWN) as shared:
        page.goto("/api/numbers/15?format=json")  # of another port, so of another origin; what is no page has no policy
        read = fetch("/api/numbers/15")
        posted = [fetch("/api/fizzbuzz", json), fetch("/api/fizzbuzz", form)]
        counts = [shared.request(f"/api/numbers/{number}").json()["count"] for number in (15, 7)]
        elsewhere = fetch("/info")

    assert read == {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz", "count": 0}
    assert posted == ["TypeError", "TypeError"]
    assert counts == [0, 1]  # a form of elsewhere arrives, as it always did; its answer stays unread
    assert elsewhere == "TypeError"
    faults.clear()  # the browser says why
