"""What all endpoints under /api/ have in common: formats, parameters and errors."""

from urllib.parse import quote

import pytest
from django.test import Client, RequestFactory
from django.urls import resolve
from pytest_django.asserts import assertInHTML

from fizzbuzz import times
from fizzbuzz.api.problems import PROBLEM_TYPES
from fizzbuzz.models import Submission
from tests.problems import TYPES, assert_errors, assert_problem

pytestmark = pytest.mark.django_db

HTML, JSON = "text/html; charset=utf-8", "application/json"
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
NOT_JSON = "The body is not valid JSON: "
DEEP = 100_000


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", JSON),
        (" ", JSON),
        ("*/*", JSON),
        ("APPLICATION/JSON", JSON),
        ("application/json, text/plain, */*", JSON),  # of axios
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", JSON),  # of Java
        ("text/html;q=0, */*", JSON),
        ("text/html;q=0.8, application/json", JSON),
        ("text/html, application/json", JSON),
        ("text/*;q=0.5, application/*", JSON),
        ("text/html;q=2", JSON),
        ("x", JSON),
        (CHROME, HTML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),  # of Firefox and Safari
        ("text/html; q=1.0, */*", HTML),  # of the script of browsable pages
        ("text/html", HTML),
        ("text/html, application/json;q=0.9", HTML),
        ("application/json;q=0, */*;q=0.1", HTML),
        ("text/*", HTML),
    ],
)
def test_accept_selects_the_format(client: Client, accept: str, content_type: str) -> None:
    response = client.get("/api/fizzbuzz", headers={"accept": accept})

    assert (response.status_code, response["Content-Type"]) == (200, content_type)


def test_json_is_indented_on_request(client: Client) -> None:
    response = client.get("/api/", headers={"accept": "application/json; indent=2; q=0.9"})

    assert response.text.startswith('{\n  "most_common": ')


@pytest.mark.parametrize(("format_", "status"), [("json", 200), ("api", 200), ("xml", 404), ("JSON", 404)])
def test_parameter_selects_the_format(client: Client, format_: str, status: int) -> None:
    assert client.get("/api/numbers/15", {"format": format_}, headers={"accept": "*/*"}).status_code == status


@pytest.mark.parametrize("accept", ["application/xml", "application/json;q=0, text/html;q=0.0", "image/*", "*/*;q=0"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", f"/api/{path}") for path in ("", "fizzbuzz", "fizzbuzz/1", "numbers/15", "most_common", "schema")),
        ("POST", "/api/fizzbuzz"),
    ],
)
def test_unsupported_accept_headers_are_rejected(client: Client, method: str, path: str, accept: str) -> None:
    response = client.generic(method, path, '{"number": 15}', JSON, headers={"accept": accept})

    assert_problem(response, "not-acceptable", "Could not satisfy the request Accept header.")
    assert not Submission.objects.exists()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"number":', NOT_JSON + "Expecting value: line 1 column 11 (char 10)."),
        (b'{"number": 15} 7', NOT_JSON + "Extra data: line 1 column 16 (char 15)."),
        (b'{"number": -Infinity}', NOT_JSON + "-Infinity is not a JSON value."),
        (b'{"number": 1, "number": 15}', NOT_JSON + "an object contains a duplicate name."),
        (b'{"number": 15, "more": {"a": 1, "a": 1}}', NOT_JSON + "an object contains a duplicate name."),
        (b'{"number": "\xff"}', "The body is not UTF-8: byte 13 is invalid."),
        (b'\xef\xbb\xbf{"number": 15}', "The body begins with a byte order mark. Send UTF-8 without one."),
        ('{"number": 15}'.encode("utf-16"), "The body begins with a byte order mark. Send UTF-8 without one."),
        (b'{"number": ' + b"[" * DEEP + b"]" * DEEP + b"}", "The body contains more than 100 objects and arrays."),
        (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "The body contains more than 100 objects and arrays."),
    ],
    ids=lambda value: ascii(value[:24]),
)
def test_malformed_json_is_rejected(client: Client, body: bytes, detail: str) -> None:
    response = client.generic("POST", "/api/fizzbuzz", body, JSON)

    assert_problem(response, "bad-request", detail)
    assert not Submission.objects.exists()


SECONDS = "A number of seconds or milliseconds is not a time. "
PLUS = "In a URL, + is decoded as a space: write %2B, as in 2026-01-31T12:00:00%2B01:00. "
TIMES = [
    ("yesterday", ""),
    ("20260131T120000Z", ""),
    ("2026-W05-6", ""),
    ("2026-01-31T12:00+24:00", ""),
    ("\x00", ""),
    ("1769860800", SECONDS),
    ("1704051122334", SECONDS),
    ("2026-02-30", "There is no such time: day is out of range for month. "),
    ("2026-01-31T12:00:61Z", "There is no such time: second must be in 0..59. "),
    ("2026-01-31T12:00:00 02:00", PLUS),
    ("2026-01-31T12:00 0200", PLUS),
]


@pytest.mark.parametrize(
    ("path", "name", "detail"),
    [
        *(
            (f"/api/{path}", "numbr", f"Unknown parameter. This URL accepts {accepted}.")
            for path, accepted in (
                ("fizzbuzz?numbr=15", "the parameters number, kind, cursor"),
                ("fizzbuzz?number=15&numbr=15", "the parameters number, kind, cursor"),
                ("most_common?numbr", "the parameters limit, since, until"),
                ("numbers/15?numbr=15", "no parameters"),
                ("fizzbuzz/1?numbr=15", "no parameters"),
            )
        ),
        *(
            (f"/api/fizzbuzz?kind={kind}", "kind", "Enter one of Fizz, Buzz, FizzBuzz, Number.")
            for kind in ("fizz", "", "Fizz%20", "x%00", "<b>")
        ),
        *(
            (f"/api/most_common?limit={limit}", "limit", f'Enter a whole number from 1 to 100. Received "{limit}".')
            for limit in ("0", "101", "-1", "", " 3", "3.0")
        ),
        *((f"/api/most_common?since={quote(text)}", "since", reason + times.EXPECTED) for text, reason in TIMES),
        ("/api/most_common?until=1", "until", SECONDS + times.EXPECTED),
        ("/api/most_common?since=2026-01-31T14:00:00Z&until=2026-01-31", "since", "since is after until."),
    ],
)
def test_error_names_the_invalid_parameter(client: Client, path: str, name: str, detail: str) -> None:
    assert_errors(client.get(path), (name, detail))


@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/api/fizzbuzz/batch"])
def test_number_in_the_url_of_a_submission_is_not_ignored(client: Client, path: str) -> None:
    response = client.post(f"{path}?number=15", {"number": 7, "numbers": [7]}, JSON)

    assert_errors(response, ("number", "Unknown parameter. This URL accepts no parameters."))
    assert not Submission.objects.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/api/nothing", "/api/fizzbuzz/", "/api/numbers", "/api/numbers/", "/api/numbers/1/2", "/api/\x00",
        "/api//fizzbuzz", "//api/fizzbuzz", "/api", "/API/fizzbuzz", "/api/.json", "/api/fizzbuzz.json",
        "/api/fizzbuzz/1.api", "/api/fizzbuzz/batch.json", "/api/most_common.json", "/api/most_common.x",
        "/api/schema.json",
    ],
)  # fmt: skip
def test_unknown_urls_return_problem_details(client: Client, path: str) -> None:
    response = client.get("/", PATH_INFO=path)  # of "//api", the client would take a part for a host

    assert_problem(response, "not-found", "Not found: there is nothing at this URL.")


@pytest.mark.parametrize("path", ["/api/most_common", "/api/schema"])
def test_failed_precondition_is_a_problem(client: Client, path: str) -> None:
    response = client.get(path, headers={"if-match": '"another"'})

    assert_problem(response, "precondition-failed", "Precondition failed: the resource is not the one in If-Match.")


@pytest.mark.parametrize("accept", [JSON, HTML])
def test_no_cookie_is_set(client: Client, accept: str) -> None:
    for path in ("", "fizzbuzz", "fizzbuzz/0", "fizzbuzz/batch", "numbers/15", "most_common"):
        client.get(f"/api/{path}", headers={"accept": accept})

    assert not client.cookies


@pytest.mark.parametrize("path", ["/api/numbers/15", "/api/most_common", "/api/fizzbuzz"])
def test_server_may_omit_an_empty_query_string(rf: RequestFactory, path: str) -> None:
    """WSGI allows that."""
    request = rf.get(path)
    del request.META["QUERY_STRING"]
    view, arguments, named = resolve(path)

    assert view(request, *arguments, **named).status_code == 200


def test_problem_type_links_to_its_description(client: Client) -> None:
    page = client.get("/docs/problems").text

    assert {each.slug: (each.status, each.title) for each in PROBLEM_TYPES} == TYPES
    for each in PROBLEM_TYPES:
        text = f"<h2>{each.status} {each.title}</h2><p>{each.description}</p>".replace("'", "&#x27;")
        assertInHTML(text, page)
        assert f'id="{each.slug}"' in page
