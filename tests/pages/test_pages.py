"""The first page: its form, the answers and the live data; and the error pages of all pages."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.gated import GatedClient
from tests.log import append
from tests.marks import commits
from tests.problems import assert_error_page

pytestmark = commits

HTML = "text/html; charset=utf-8"
HTMX = {"hx-request": "true"}
FORM = "application/x-www-form-urlencoded"
ATTRIBUTES = 'autofocus autocomplete="off" spellcheck="false" enterkeyhint="go" required'
CROSS_SITE = (
    "Cross-site submission rejected. This request recorded nothing. Submit the number on this site's first page."
)
# What a browser's headers say of a form of this site, and of others'.
OURS = [
    # Chromium, Firefox and Safari, over HTTPS or on localhost
    {"sec-fetch-site": "same-origin", "origin": "http://testserver"},
    {"sec-fetch-site": "none", "origin": "null"},  # a restored tab
    {"sec-fetch-site": "same-origin", "origin": "https://testserver"},  # behind a proxy for TLS, without HTTPS=1
    {"origin": "http://192.168.1.5:8080", "host": "192.168.1.5:8080"},  # over plain HTTP from another machine
    {"origin": "https://testserver", "host": "testserver", "x-forwarded-proto": "https"},  # with HTTPS=1
    {},  # not a browser, or an old one
    {"referer": "https://evil.example/"},
]
OTHERS = [
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
    {"sec-fetch-site": "same-site", "origin": "http://other.testserver"},
    {"sec-fetch-site": "", "origin": "https://evil.example"},
    {"origin": "https://evil.example"},
    {"origin": "https://testserver"},
    {"origin": "http://testserver", "host": "testserver", "x-forwarded-proto": "https"},
    {"origin": "http://testserver.evil.example"},
    {"origin": "http://testserver:81"},
    {"origin": "null"},
    {"origin": ""},
]


def recorded() -> list[int]:
    return list(Submission.objects.order_by("id").values_list("number", flat=True))


def test_home_has_the_form(client: Client) -> None:
    response = client.get("/")

    assert (response.status_code, response["Content-Type"]) == (200, HTML)
    assertInHTML(f'<input type="text" name="number" {ATTRIBUTES} id="id_number">', response.text)
    assertInHTML("<p>Nothing yet. Be the first.</p>", response.text)


def test_home_and_live_list_the_three_most_common(client: Client) -> None:
    append(7, 15, 15, -3, -3, *[5] * 10_000)

    response = client.get("/")

    rows = "".join(
        f"""<li id="top{number}"><a id="link{number}" href="/numbers/{number}">{number}</a>
            <span class="kind" data-kind="{kind}">{kind}</span> <span class="count">{count}&times;</span>
            <svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" data-kind="{kind}"><rect
              id="bar{number}" width="{width}" height="1"/></svg></li>"""
        for number, kind, count, width in (
            (5, "Buzz", "10,000", 100),
            (-3, "Fizz", "2", 0),
            (15, "FizzBuzz", "2", 0),
        )
    )
    assertInHTML(f'<ol class="top">{rows}</ol>', response.text)
    assert client.get("/live").text in response.text


def test_latest_have_a_time_if_they_are_of_today_and_a_date_otherwise(client: Client) -> None:
    append(*range(1, 9))
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ids = list(Submission.objects.order_by("-id").values_list("id", flat=True))
    times = (
        today + timedelta(hours=23, minutes=59),
        today - timedelta(seconds=1),
        datetime(2025, 1, 3, 12, tzinfo=UTC),
    )
    for id_, time in zip(ids, times, strict=False):
        Submission.objects.filter(id=id_).update(created_at=time)

    latest = client.get("/").text.partition('<ol class="log">')[2].partition("</ol>")[0]

    assert re.findall(r'href="/numbers/(\d)"', latest) == list("8765432")
    shown = ("23:59:00", f"{times[1]:%-d %b %Y}", "3 Jan 2025")
    assert re.findall(r"<time .*</time>", latest)[:3] == [
        f'<time datetime="{time.isoformat()}">{text}</time>' for time, text in zip(times, shown, strict=True)
    ]


def test_form_records_and_redirects_to_the_number_page(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):  # the INSERT has its own connection
        response = client.post("/", {"number": " +015\u200b\n"})

    assert (response.status_code, response["Location"], response.content) == (303, "/numbers/15", b"")
    assert response["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert not response.cookies
    assert recorded() == [15]


def test_htmx_gets_the_answer_and_its_row_of_the_latest(client: Client) -> None:
    client.get("/")  # the live data that others share are older than the submission

    form = {"number": " +015", "key": str(uuid4())}
    response, repeated = [client.post("/", form, headers=HTMX) for _ in range(2)]

    assert (response.status_code, response["Content-Type"]) == (200, HTML)
    row = Submission.objects.get()
    answer = """
        <div id="answer">
        <p class="answer" data-kind="FizzBuzz">FizzBuzz</p>
        <dl class="facts">
          <div><dt>Number</dt><dd>15</dd></div> <div><dt>Submitted</dt><dd>1 time</dd></div>
          <div><dt>Rank</dt><dd>1</dd></div>
        </dl>
        </div>
        <div id="share">
        <p class="share">Share it: <a href="/numbers/15" rel="bookmark">testserver/numbers/15</a>
          <copy-link></copy-link></p>
        </div>
        <div id="field">
    """
    assert response.text.partition('<div class="field">')[0].split() == answer.split()
    assert 'value=" +015"' in response.text
    assertInHTML(
        f"""
        <ol hx-swap-oob="afterbegin:.log"><li><a id="log{row.id}" href="/numbers/15">15</a>
          <span class="kind" data-kind="FizzBuzz">FizzBuzz</span>
          <time datetime="{row.created_at.isoformat()}">{row.created_at:%H:%M:%S}</time></li></ol>
        """,
        response.text,
    )
    assert repeated.text == response.text.partition("<ol ")[0] + "\n"


@pytest.mark.parametrize("headers", [{}, HTMX], ids=str)
def test_form_says_why_a_submission_is_rejected(client: Client, headers: dict[str, str]) -> None:
    missing = f"The number is missing. {rules.EXPECTED}"
    for body, field, message in (
        (b"", "number", missing),
        (b"number=+%E2%80%8B%C2%A0", "number", missing),
        (b"number=1%E2%80%8B5", "number", f"It contains a zero width space U+200B. {rules.EXPECTED}"),
        (b"number=%FF", "number", f"It contains a replacement character U+FFFD. {rules.EXPECTED}"),
        (b"number=15&key=x", "key", "This form is no longer valid. Reload the page and try again."),
    ):
        response = client.generic("POST", "/", body, FORM, headers=headers)

        assert (response.status_code, response["Content-Type"]) == (422, HTML)
        assertInHTML(f'<ul class="errorlist" id="id_{field}_error"><li>{message}</li></ul>', response.text)
    assert recorded() == []


def test_form_shows_the_message_at_the_field_and_escapes_the_input(client: Client) -> None:
    response = client.post("/", {"number": '"><script>alert(1)</script>'})

    assertInHTML(
        '<input type="text" name="number" value="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"'
        f' {ATTRIBUTES} aria-invalid="true" aria-describedby="id_number_error" id="id_number">',
        response.text,
    )
    assert "<script>" not in response.text


def test_form_is_accepted_only_from_this_site(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    client = GatedClient(enforce_csrf_checks=True)

    for headers in OURS:
        assert client.post("/", {"number": "15"}, headers=headers).status_code == 303
    for headers in OTHERS:
        assert_error_page(client.post("/", {"number": "15"}, headers=headers), 403, CROSS_SITE)
    assert recorded() == [15] * len(OURS)


def test_unknown_urls_return_an_error_page(client: Client) -> None:
    for path in ("/numbers/", "/apix", "/%FF", "/stats/", "/stats/submissions.xml", "/stats/other.csv"):
        assert_error_page(client.get(path), 404, "Not found: there is nothing at this URL.")


def test_unexpected_errors_return_an_error_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.raise_request_exception = False
    monkeypatch.setattr("fizzbuzz.counts.ranking.shared_facts_of", lambda *_: 1 / 0)

    response = client.get("/numbers/15")

    assert_error_page(response, 500, "Internal server error. Try again; if it persists, contact the operator.")


def test_form_with_too_many_fields_returns_an_error_page(client: Client) -> None:
    response = client.post("/", "number=15&" + "a&" * 1_001, FORM)

    assert_error_page(response, 400, "Too many fields or parameters. This request recorded nothing; send fewer.")
    assert recorded() == []
