"""What the first page loads, and that nothing of it moves."""

from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from tests.browser.first_page import answer, submit
from tests.service import Service

MAX_BYTES = 40_000
FOREVER = "max-age=315360000, public, immutable"
SHIFTS = """() => new Promise((resolve) => {
    const count = (list) => list.getEntries().filter((each) => !each.hadRecentInput).length;
    const observer = new PerformanceObserver((list) => resolve(count(list)));
    observer.observe({ type: "layout-shift", buffered: true });
    setTimeout(() => resolve(0), 500);
})"""


def test_first_page_is_light(page: Page, service: Service) -> None:
    service.request("/api/fizzbuzz/batch", {"numbers": [15, 15, 9, 7, 20, -(2**63)]})
    weights: dict[str, float] = {}
    urls: dict[str, str] = {}
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    network.on(
        "Network.loadingFinished", lambda event: weights.update({event["requestId"]: event["encodedDataLength"]})
    )

    cached = {}
    page.on("response", lambda response: cached.update({response.url: response.headers.get("cache-control")}))

    page.goto("/", wait_until="networkidle")
    while "favicon" not in "".join(urls[each] for each in weights):  # a busy browser loads it last
        page.wait_for_timeout(50)

    assert {cached[url] for url in cached if "/static/" in url} == {FOREVER}
    paths = [urlsplit(urls[each]).path.rpartition("/")[2] for each in weights]
    assert {f"{urlsplit(each).scheme}://{urlsplit(each).netloc}" for each in urls.values()} == {service.address}
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
    assert sum(weights.values()) < MAX_BYTES


def test_nothing_shifts(page: Page) -> None:
    page.goto("/", wait_until="networkidle")
    assert page.evaluate(SHIFTS) == 0
    submit(page, "15")
    expect(answer(page)).to_have_text("FizzBuzz")
    assert page.evaluate(SHIFTS) == 0
