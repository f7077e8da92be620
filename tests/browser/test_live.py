"""Live data of the first page: refreshes, outages, caches in between, and browsers that do not run the script."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visit
from tests.browser.first_page import (
    SET_HIDDEN,
    UNREACHABLE,
    answer,
    count,
    field,
    let_pass,
    newest,
    stop_clock,
    submit,
    xhr_urls,
)
from tests.proxy import needs_nginx, proxying
from tests.service import SHORT_SHUTDOWN, Service, serving

SECOND = 1_000  # milliseconds
STALE = "Live data is out of date. It updates automatically when the service is back; if it does not, reload the page."
REFRESH = "document.getElementById('live').dispatchEvent(new Event('refresh'))"
# Records the id of each element that is animated.
RECORD_ANIMATIONS = """
    window.animated = [];
    const animate = Element.prototype.animate;
    Element.prototype.animate = function (...way) {
        window.animated.push(this.id);
        return animate.apply(this, way);
    };
"""


def test_submissions_of_others_appear(visit: Visit, service: Service) -> None:
    one, other = visit(), visit()
    one.clock.install()
    one.goto("/")
    other.goto("/")
    submit(other, "9031")
    expect(answer(other)).to_have_text("9031")
    let_pass()

    one.clock.fast_forward(10 * SECOND)

    expect(newest(one)).to_contain_text("9031")
    expect(field(one)).to_be_focused()


def test_hidden_page_sends_no_requests(page: Page, service: Service) -> None:
    stop_clock(page)
    page.goto("/")
    urls = xhr_urls(page)

    page.evaluate(SET_HIDDEN, True)  # noqa: FBT003 - the function's argument
    page.clock.fast_forward(3600 * SECOND)
    assert urls == []
    service.request("/api/fizzbuzz", {"number": 9032})
    let_pass()
    page.evaluate(SET_HIDDEN, False)  # noqa: FBT003 - the function's argument

    expect(newest(page)).to_contain_text("9032")
    assert urls == [f"{service.address}/live"]


def test_unchanged_live_data_is_not_swapped(page: Page, service: Service) -> None:
    page.goto("/")
    for _ in range(2):  # the first response has nothing to be compared with
        with page.expect_response("/live"):
            page.evaluate(REFRESH)
    expect(page.locator("#live.htmx-request")).to_have_count(0)
    page.locator(".top").first.evaluate("list => list.marked = true")

    with page.expect_response("/live"):
        page.evaluate(REFRESH)
    expect(page.locator("#live.htmx-request")).to_have_count(0)
    assert page.locator(".top").evaluate("list => list.marked") is True

    service.request("/api/fizzbuzz", {"number": 9034})
    let_pass()
    page.evaluate(REFRESH)
    expect(newest(page)).to_contain_text("9034")
    assert page.locator(".top").evaluate("list => list.marked") is None


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_rows_animate_to_their_rank_unless_motion_is_reduced(visit: Visit, service: Service, motion: str) -> None:
    number, other, times = (1009, 1019, 100) if motion == "reduce" else (1021, 1031, 50)
    page = visit(reduced_motion=motion)
    page.add_init_script(RECORD_ANIMATIONS)
    service.request("/api/fizzbuzz/batch", {"numbers": [number] * times + [other] * (times + 1)})
    let_pass()
    page.goto("/")
    first = page.locator(".top li").first
    expect(first).to_contain_text(str(other))

    service.request("/api/fizzbuzz/batch", {"numbers": [number] * 5})
    let_pass()
    page.evaluate(REFRESH)

    expect(first).to_contain_text(str(number))
    animated = page.evaluate("window.animated")
    assert set(animated) == (set() if motion == "reduce" else {f"top{number}", f"top{other}"})


def test_refresh_keeps_the_focus(page: Page, service: Service) -> None:
    service.request("/api/fizzbuzz", {"number": 9035})
    page.goto("/")
    row = page.locator(".top a").first
    row.focus()
    number = row.text_content()

    service.request("/api/fizzbuzz", {"number": 9037})
    let_pass()
    page.evaluate(REFRESH)

    expect(newest(page)).to_contain_text("9037")
    assert page.evaluate("document.activeElement.textContent") == number


@needs_nginx
def test_own_submission_is_among_the_latest_behind_a_cache_with_other_visitors(visit: Visit, service: Service) -> None:
    port = int(service.address.rpartition(":")[2])
    over = Event()
    with proxying(port) as proxy, ThreadPoolExecutor(1) as pool:
        address = f"http://127.0.0.1:{proxy.port}"

        def look() -> None:
            while not over.wait(0.05):
                urlopen(f"{address}/live").close()

        others = pool.submit(look)
        try:
            page = visit(base_url=address)
            page.goto("/")

            for number in range(9041, 9047):
                service.request("/live")  # so that the copy that the service shares is older than the submission
                submit(page, str(number))
                expect(newest(page)).to_contain_text(str(number), timeout=3_000)
            with page.expect_response("**/live"):
                pass
            expect(page.locator("#live.htmx-request")).to_have_count(0)
            expect(newest(page)).to_contain_text("9046")
        finally:
            over.set()
        others.result()


@pytest.mark.parametrize("missing", ["live", "htmx", "JavaScript"])
def test_note_says_that_the_data_are_old_if_the_script_does_not_run(
    visit: Visit, faults: list[str], missing: str
) -> None:
    page = visit(java_script_enabled=missing != "JavaScript")
    page.route(f"**/{missing}*.js", lambda route: route.fulfill(body="not JavaScript", content_type="text/javascript"))
    page.goto("/")
    expect(page.get_by_text(STALE)).to_be_visible()

    submit(page, "9038")

    expect(answer(page)).to_have_text("9038")
    faults.clear()  # a syntax error


def test_page_recovers_after_an_outage(visit: Visit, faults: list[str], data_dir: Path) -> None:
    with serving(DATA_DIR=str(data_dir), **SHORT_SHUTDOWN) as service:
        page = visit(base_url=service.address)
        stop_clock(page)
        page.goto("/")
        port = service.address.rpartition(":")[2]
    urls = xhr_urls(page)
    expect(page.get_by_text(STALE)).to_be_hidden()
    page.clock.fast_forward(10 * SECOND)
    expect(page.get_by_text(STALE)).to_be_visible()
    submit(page, "21")
    expect(page.get_by_role("alert")).to_have_text(UNREACHABLE)
    assert urls == [f"{service.address}{path}" for path in ("/live", "/")]
    page.clock.fast_forward(19 * SECOND)
    assert len(urls) == 2

    with serving(DATA_DIR=str(data_dir), PORT=port, **SHORT_SHUTDOWN) as service:
        page.clock.fast_forward(5 * SECOND)
        expect(page.get_by_text(STALE)).to_be_hidden()
        submit(page, "21")
        expect(answer(page)).to_have_text("Fizz")
        expect(page.get_by_role("alert")).to_be_hidden()
        assert count(service, 21) == 1

    expected = "Failed to load resource: net::ERR_CONNECTION_REFUSED"
    assert {fault for fault in faults if not fault.startswith("htmx:")} == {expected}
    faults.clear()
