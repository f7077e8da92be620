"""Live data of the first page: refreshes, outages, caches in between, and browsers that do not run the script."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import (
    SET_HIDDEN,
    UNREACHABLE,
    Visit,
    answer,
    let_pass,
    newest,
    stop_clock,
    submit,
    xhr_urls,
)
from tests.proxy import needs_nginx, proxying
from tests.raw import recorded
from tests.service import Service

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


def test_submissions_of_others_appear_and_only_changes_are_swapped(page: Page, service: Service) -> None:
    service.request("/api/fizzbuzz/batch", {"numbers": [9035, 9035]})
    page.clock.install()
    page.goto("/")
    top = page.locator(".top")
    top.get_by_role("link").first.focus()
    focused = page.evaluate("document.activeElement.id")

    service.request("/api/fizzbuzz", {"number": 9031})
    let_pass()
    page.clock.fast_forward(10 * SECOND)
    expect(newest(page)).to_contain_text("9031")
    assert page.evaluate("document.activeElement.id") == focused

    top.evaluate("list => list.marked = true")
    with page.expect_response("/live"):
        page.clock.fast_forward(10 * SECOND)
    expect(page.locator("#live.htmx-request")).to_have_count(0)
    assert top.evaluate("list => list.marked") is True

    service.request("/api/fizzbuzz", {"number": 9034})
    let_pass()
    page.clock.fast_forward(10 * SECOND)
    expect(newest(page)).to_contain_text("9034")
    assert top.evaluate("list => list.marked") is None


def test_own_submission_stays_the_first_of_the_latest_and_a_hidden_page_sends_no_requests(
    page: Page, service: Service
) -> None:
    stop_clock(page)
    page.goto("/")
    urls = xhr_urls(page)

    submit(page, "1000005")

    expect(newest(page)).to_contain_text("1000005 FizzBuzz")
    page.evaluate(SET_HIDDEN, True)  # noqa: FBT003 - the function's argument
    page.evaluate(SET_HIDDEN, False)  # noqa: FBT003 - the function's argument
    page.clock.fast_forward(4_900)  # a copy of the live data in a cache may still be older
    assert urls == [f"{service.address}/"]
    let_pass()  # the page's clock is ahead of the service's
    page.clock.fast_forward(200)
    expect(newest(page)).to_contain_text("1000005")
    assert urls[1:] == [f"{service.address}/live"]

    page.evaluate(SET_HIDDEN, True)  # noqa: FBT003 - the function's argument
    page.clock.fast_forward(3600 * SECOND)
    assert len(urls) == 2
    service.request("/api/fizzbuzz", {"number": 9032})
    let_pass()
    page.evaluate(SET_HIDDEN, False)  # noqa: FBT003 - the function's argument
    expect(newest(page)).to_contain_text("9032")
    assert urls[2:] == [f"{service.address}/live"]


def test_rows_animate_to_their_rank_unless_motion_is_reduced(page: Page, service: Service) -> None:
    one, other = 1009, 1019
    page.add_init_script(RECORD_ANIMATIONS)
    service.request("/api/fizzbuzz/batch", {"numbers": [one] * 100 + [other] * 102})
    let_pass()
    page.goto("/")
    first = page.locator(".top li").first
    expect(first).to_contain_text(str(other))

    for is_reduced, number, animated in (
        (False, one, {f"top{one}", f"top{other}"}),
        (True, other, set()),
    ):
        page.emulate_media(reduced_motion="reduce" if is_reduced else "no-preference")
        page.evaluate("window.animated = []")
        service.request("/api/fizzbuzz/batch", {"numbers": [number] * 5})
        let_pass()
        page.evaluate(REFRESH)
        expect(first).to_contain_text(str(number))
        assert set(page.evaluate("window.animated")) == animated


@needs_nginx
def test_own_submission_is_among_the_latest_behind_a_cache_with_other_visitors(visit: Visit, service: Service) -> None:
    with proxying(int(service.address.rpartition(":")[2])) as proxy:
        other, page = [visit(base_url=f"http://127.0.0.1:{proxy.port}") for _ in range(2)]
        other.goto("/docs/problems")
        other.evaluate("() => { setInterval(fetch, 50, '/live'); }")
        page.goto("/")

        for number in ("9041", "9042", "9043"):
            service.request("/live")  # so that the copy that the service shares is older than the submission
            submit(page, number)
            expect(newest(page)).to_contain_text(number, timeout=3_000)
        with page.expect_response("**/live"):
            pass
        expect(page.locator("#live.htmx-request")).to_have_count(0)
        expect(newest(page)).to_contain_text("9043")
        other.close()  # before the proxy stops


def test_note_says_that_the_data_are_old_if_the_script_does_not_run(visit: Visit, faults: list[str]) -> None:
    pages = {missing: visit(java_script_enabled=missing != "JavaScript") for missing in ("live", "htmx", "JavaScript")}
    for missing, page in pages.items():
        page.route(
            f"**/{missing}*.js", lambda route: route.fulfill(body="not JavaScript", content_type="text/javascript")
        )
        page.goto("/")
    for page in pages.values():
        expect(page.get_by_text(STALE)).to_be_visible()
        submit(page, "9038")
        expect(answer(page)).to_have_text("9038")
    faults.clear()  # a syntax error


def test_page_recovers_after_an_outage(page: Page, service: Service, faults: list[str]) -> None:
    stop_clock(page)
    page.goto("/")
    urls = xhr_urls(page)
    page.context.set_offline(True)
    expect(page.get_by_text(STALE)).to_be_hidden()
    page.clock.fast_forward(10 * SECOND)
    expect(page.get_by_text(STALE)).to_be_visible()
    submit(page, "9021")
    expect(page.get_by_role("alert")).to_have_text(UNREACHABLE)
    assert urls == [f"{service.address}{path}" for path in ("/live", "/")]
    page.clock.fast_forward(19 * SECOND)
    assert len(urls) == 2

    page.context.set_offline(False)
    page.clock.fast_forward(5 * SECOND)
    expect(page.get_by_text(STALE)).to_be_hidden()
    submit(page, "9021")
    expect(answer(page)).to_have_text("Fizz")
    expect(page.get_by_role("alert")).to_be_hidden()
    assert recorded(service, 9021) == 1

    expected = "Failed to load resource: net::ERR_INTERNET_DISCONNECTED"
    assert {fault for fault in faults if not fault.startswith("htmx:")} == {expected}
    faults.clear()
