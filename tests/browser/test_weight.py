from __future__ import annotations

from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from tests.browser.first_page import answer, submit
from tests.service import Service

MOST_BYTES = 40_000
FOREVER = "max-age=315360000, public, immutable"
SHIFTS = """() => new Promise((told) => {
    new PerformanceObserver((list) => told(list.getEntries().length)).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => told(0), 500);
})"""


def test_first_page_is_light(page: Page, service: Service) -> None:
    service.request("/api/fizzbuzz/batch", {"numbers": [15, 15, 9, 7, 20, -(2**63)]})
    weights: dict[str, float] = {}
    addresses: dict[str, str] = {}
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.requestWillBeSent", lambda told: addresses.update({told["requestId"]: told["request"]["url"]}))
    network.on("Network.loadingFinished", lambda told: weights.update({told["requestId"]: told["encodedDataLength"]}))

    page.goto("/", wait_until="networkidle")

    paths = [urlsplit(addresses[each]).path.rpartition("/")[2] for each in weights]
    assert {f"{urlsplit(each).scheme}://{urlsplit(each).netloc}" for each in addresses.values()} == {service.address}
    assert sorted(".".join(path.split(".")[:: len(path.split(".")) - 1 or 1]) for path in paths) == [
        "",
        "chart.css",
        "copy-link.js",
        "elements.css",
        "favicon.svg",
        "home.css",
        "htmx-2.js",
        "live.js",
        "tokens.css",
    ]
    assert sum(weights.values()) < MOST_BYTES


def test_assets_are_kept_forever(page: Page) -> None:
    kept = {}
    page.on("response", lambda answer: kept.update({urlsplit(answer.url).path: answer.headers.get("cache-control")}))

    page.goto("/", wait_until="networkidle")

    assert {kept[path] for path in kept if path.startswith("/static/")} == {FOREVER}


def test_nothing_shifts(page: Page) -> None:
    page.goto("/", wait_until="networkidle")
    assert page.evaluate(SHIFTS) == 0
    submit(page, "15")
    expect(answer(page)).to_have_text("FizzBuzz")
    assert page.evaluate(SHIFTS) == 0
