from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils.html import escape
from pytest_django.asserts import assertInHTML

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.inputs import REJECTED_BY_FORM
from tests.marks import commits

pytestmark = commits

HTML = "text/html; charset=utf-8"
BACK = '<p><a href="/">Back to the first page</a></p>'


def main_of(html: str) -> str:
    return html.partition("<main>")[2].partition("</main>")[0]


def assert_error(response: Any, status: int, detail: str) -> None:
    assert (response.status_code, response["Content-Type"]) == (status, HTML)
    assertInHTML(
        f'<div id="problem"><h1 class="answer">{status}</h1><p>{escape(detail)}</p>{BACK}'
        f"<p>Request ID: <code>{response['X-Request-ID']}</code></p></div>",
        response.text,
    )


def submit(*numbers: int) -> None:
    Submission.objects.bulk_create(Submission(number=number) for number in numbers)


def test_home_has_the_form_and_a_link_to_the_docs(client: Client) -> None:
    response = client.get("/")

    assert (response.status_code, response["Content-Type"]) == (200, HTML)
    assertInHTML(
        '<input type="text" name="number" autofocus autocomplete="off" spellcheck="false" enterkeyhint="go" required'
        ' id="id_number">',
        response.text,
    )
    assertInHTML('<label for="id_number">Which number?</label>', response.text)
    assertInHTML('<a href="/docs">API docs</a>', response.text)
    assertInHTML("<p>Nothing yet. Be the first.</p>", response.text)


def test_home_lists_the_three_most_common(client: Client) -> None:
    submit(7, 15, 15, -3, -3, 5, 5, 5)

    response = client.get("/")

    assertInHTML(
        """
        <ol class="top">
          <li id="top5"><a id="link5" href="/numbers/5">5</a> <span class="kind" data-kind="Buzz">Buzz</span>
            <span class="count">3&times;</span>
            <svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" data-kind="Buzz"><rect
              id="bar5" width="100" height="1"/></svg></li>
          <li id="top-3"><a id="link-3" href="/numbers/-3">-3</a> <span class="kind" data-kind="Fizz">Fizz</span>
            <span class="count">2&times;</span>
            <svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" data-kind="Fizz"><rect
              id="bar-3" width="67" height="1"/></svg></li>
          <li id="top15"><a id="link15" href="/numbers/15">15</a>
            <span class="kind" data-kind="FizzBuzz">FizzBuzz</span> <span class="count">2&times;</span>
            <svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true"
              data-kind="FizzBuzz"><rect id="bar15" width="67" height="1"/></svg></li>
        </ol>
        """,
        response.text,
    )


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_home_takes_three_queries(client: Client, django_assert_num_queries: Any, rows: int) -> None:
    submit(*range(rows))

    with django_assert_num_queries(3):
        response = client.get("/")

    assert response.text.count('<li id="top') == rows


def test_home_lists_the_latest(client: Client) -> None:
    submit(1, 2, 3, 4, 5, 6, 7, 8)
    newest = Submission.objects.latest("id")
    Submission.objects.filter(id=newest.id).update(created_at=datetime(2026, 1, 31, 12, 3, 4, tzinfo=UTC))

    latest = client.get("/").text.partition('<ol class="log">')[2].partition("</ol>")[0]

    assert re.findall(r'href="/numbers/(\d)"', latest) == list("8765432")
    assertInHTML(
        f"""
        <li><a id="log{newest.id}" href="/numbers/8">8</a>
          <time datetime="2026-01-31T12:03:04+00:00">12:03:04</time></li>
        """,
        latest,
    )


def test_form_records_and_redirects_to_the_number_page(client: Client, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):  # the INSERT has its own connection
        response = client.post("/", {"number": " +015\n"})

    assert response.status_code == 303
    assert response["Location"] == "/numbers/15"
    assert response.content == b""
    assert list(Submission.objects.values_list("number", flat=True)) == [15]


def test_reloading_the_result_records_nothing(client: Client) -> None:
    location = client.post("/", {"number": "15"})["Location"]

    pages = [client.get(location).text for _ in range(2)]

    assert pages[0] == pages[1]
    assert Submission.objects.count() == 1


def test_htmx_gets_the_answer(client: Client, django_assert_num_queries: Any) -> None:
    client.get("/")

    with django_assert_num_queries(8):
        response = client.post("/", {"number": " +015", "key": str(uuid4())}, headers={"HX-Request": "true"})

    answer = response.text.partition('<div id="answer">')[2].partition("</div>\n<div id=")[0]
    assert (response.status_code, response["Content-Type"]) == (200, HTML)
    expected = """
        <p class="answer" data-kind="FizzBuzz">FizzBuzz </p>
        <dl class="facts">
          <div><dt>Number</dt><dd>15</dd></div> <div><dt>Submitted</dt><dd>1 time</dd></div>
          <div><dt>Rank</dt><dd>1</dd></div>
        </dl>
        <p class="share">Share it: <a href="/numbers/15" rel="bookmark">testserver/numbers/15</a>
          <copy-link></copy-link></p>
    """
    assert answer.split() == expected.split()
    assert 'value=" +015"' in response.text
    assert client.get("/live").text in response.text


@pytest.mark.parametrize("text", REJECTED_BY_FORM, ids=ascii)
def test_form_rejects_invalid_numbers(client: Client, text: str) -> None:
    response = client.post("/", {"number": text})

    assert (response.status_code, response["Content-Type"]) == (422, HTML)
    assert f"{rules.EXPECTED}</li></ul>" in response.text
    assert not Submission.objects.exists()


def test_form_shows_the_message_at_the_field_and_escapes_the_input(client: Client) -> None:
    response = client.post("/", {"number": '"><script>alert(1)</script>'})

    assertInHTML(
        '<input type="text" name="number" value="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" autofocus'
        ' autocomplete="off" spellcheck="false" enterkeyhint="go" required aria-invalid="true"'
        ' aria-describedby="id_number_error" id="id_number">',
        response.text,
    )
    assert "<script>" not in response.text


def test_invalid_key_shows_a_message(client: Client) -> None:
    response = client.post("/", {"number": "15", "key": "x"})

    assert response.status_code == 422
    assert "This form is no longer valid. Reload the page and try again." in response.text
    assert not Submission.objects.exists()


@pytest.mark.parametrize("body", [b"number=\xff", b"number=%FF", b"", b"number[]=15"])
def test_malformed_forms_are_rejected(client: Client, body: bytes) -> None:
    response = client.generic("POST", "/", body, "application/x-www-form-urlencoded")

    assert response.status_code == 422
    assert not Submission.objects.exists()


@pytest.mark.parametrize(
    "path", ["/nothing", "/numbers/", "/numbers/1/2", "/fizzbuzz", "/apix", "/api", "/%00", "/%FF"]
)
def test_unknown_urls_return_an_error_page(client: Client, path: str) -> None:
    response = client.get(path)

    assert_error(response, 404, "Not found: there is nothing at this URL.")


def test_invalid_hosts_are_rejected(client: Client) -> None:
    response = client.get("/", headers={"host": "evil.example"})

    assert_error(response, 400, "Invalid Host header. The operator can add this name to ALLOWED_HOSTS.")


@pytest.mark.parametrize("host", ["my_host", "my_host:8080", "-a b-", "[::1", "a..b/"])
def test_malformed_host_is_reported_as_invalid(client: Client, settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ["*"]

    response = client.get("/", headers={"host": host})

    assert_error(
        response,
        400,
        "The Host header is not a valid host name, which consists of letters, digits, hyphens and dots. Use another "
        "name or the IP address of the service; ALLOWED_HOSTS cannot allow this one.",
    )


def test_unexpected_errors_return_an_error_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.raise_request_exception = False
    monkeypatch.setattr("fizzbuzz.counts.reads.facts", lambda *_: 1 / 0)

    response = client.get("/numbers/15")

    assert_error(response, 500, "Internal server error. Try again; if it persists, contact the operator.")


def test_error_pages_link_to_the_feedback_url(client: Client, settings: Any) -> None:
    assert "Report a problem" not in client.get("/nowhere").text

    settings.FEEDBACK_URL = "https://example.com/?a=1&b=2"
    response = client.get("/nowhere")

    assertInHTML(
        '<p><a href="https://example.com/?a=1&amp;b=2">Report a problem</a>, and include the request ID.</p>',
        response.text,
    )


@pytest.mark.django_db
def test_permission_denied_returns_an_error_page(client: Client, django_user_model: Any) -> None:
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))

    response = client.get("/admin/fizzbuzz/submission/")

    assert_error(response, 403, "Your account may not do this. Sign in with another account, or contact the operator.")


def test_form_with_too_many_fields_returns_an_error_page(client: Client) -> None:
    response = client.post("/", "number=15&" + "a&" * 1_001, "application/x-www-form-urlencoded")

    assert_error(response, 400, "Too many fields or parameters. This request recorded nothing; send fewer.")
    assert not Submission.objects.exists()


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/numbers/15", 500)])
def test_error_page_falls_back_to_plain_text(client: Client, settings: Any, path: str, status: int) -> None:
    client.raise_request_exception = False
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [], "APP_DIRS": False}]

    response = client.get(path)

    assert (response.status_code, response["Content-Type"]) == (status, "text/plain; charset=utf-8")
    first, *_, last = response.text.splitlines()
    assert first.startswith(f"{status}: ")
    assert last == f"Request {response['X-Request-ID']}"
