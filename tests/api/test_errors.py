"""Errors that all endpoints under /api/ have in common."""

import pytest
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz.api.problems import PROBLEM_TYPES
from fizzbuzz.models import Submission
from tests.marks import commits
from tests.problems import TYPES, assert_errors, assert_problem

pytestmark = pytest.mark.django_db

NOT_JSON = "The body is not valid JSON: "
DEEP = 100_000


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"number":', NOT_JSON + "Expecting value: line 1 column 11 (char 10)."),
        (b'{"number": 15} 7', NOT_JSON + "Extra data: line 1 column 16 (char 15)."),
        (b'{"number": 007}', NOT_JSON + "Expecting ',' delimiter: line 1 column 13 (char 12)."),
        (b'{"number": NaN}', NOT_JSON + "NaN is not a JSON value."),
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
@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/api/fizzbuzz/batch"])
def test_malformed_json_is_rejected(client: Client, path: str, body: bytes, detail: str) -> None:
    response = client.generic("POST", path, body, "application/json")

    assert_problem(response, "bad-request", detail)
    assert not Submission.objects.exists()


@pytest.mark.parametrize(
    "path", ["/api/", "/api/fizzbuzz", "/api/fizzbuzz/1", "/api/numbers/15", "/api/most_common", "/api/schema"]
)
@pytest.mark.parametrize("accept", ["application/xml", "application/json;q=0, text/html;q=0.0", "image/*", "*/*;q=0"])
def test_unsupported_accept_headers_are_rejected(client: Client, path: str, accept: str) -> None:
    response = client.get(path, headers={"accept": accept})

    assert_problem(response, "not-acceptable", "Could not satisfy the request Accept header.")


def test_unacceptable_response_type_records_nothing(client: Client) -> None:
    response = client.post("/api/fizzbuzz", {"number": 15}, "application/json", headers={"accept": "application/xml"})

    assert response.status_code == 406
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


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        ("/api/fizzbuzz?numbr=15", "the parameters number, kind, cursor"),
        ("/api/fizzbuzz?number=15&numbr=15", "the parameters number, kind, cursor"),
        ("/api/most_common?limit=3&numbr=1", "the parameters limit, since, until"),
        ("/api/most_common?numbr", "the parameters limit, since, until"),
        ("/api/numbers/15?numbr=15", "no parameters"),
        ("/api/fizzbuzz/1?numbr=15", "no parameters"),
    ],
)
def test_error_names_the_unknown_parameter(client: Client, path: str, accepted: str) -> None:
    response = client.get(path)

    assert_errors(response, ("numbr", f"Unknown parameter. This URL accepts {accepted}."))


@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/api/fizzbuzz/batch"])
def test_number_in_the_url_of_a_submission_is_not_ignored(client: Client, path: str) -> None:
    response = client.post(f"{path}?number=15", {"number": 7, "numbers": [7]}, "application/json")

    assert response.status_code == 400
    assert response.json()["detail"] == "Unknown parameter. This URL accepts no parameters."
    assert not Submission.objects.exists()


def test_root_lists_the_collections(client: Client) -> None:
    response = client.get("/api/")

    assert response.status_code == 200
    assert response.json() == {
        "fizzbuzz": "http://testserver/api/fizzbuzz",
        "most_common": "http://testserver/api/most_common",
    }


@commits
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_no_cookie_is_set(client: Client, accept: str) -> None:
    client.defaults["HTTP_ACCEPT"] = accept

    paths = ("", "fizzbuzz", "fizzbuzz/0", "fizzbuzz/batch", "numbers/15", "most_common")
    responses = [client.get(f"/api/{path}") for path in paths]
    responses += [client.post("/api/fizzbuzz", {"number": number}, "application/json") for number in (15, "x")]

    assert [response.status_code for response in responses] == [200, 200, 404, 405, 200, 200, 201, 400]
    assert {response["Content-Type"].partition(";")[0] for response in responses[:2]} == {accept}
    assert not client.cookies


def test_unexpected_errors_return_problem_details(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.raise_request_exception = False
    monkeypatch.setattr("fizzbuzz.counts.ranking.shared_count_of", lambda *_: 1 / 0)

    response = client.get("/api/numbers/15")

    assert_problem(
        response, "internal-error", "Internal server error. Try again; if it persists, contact the operator."
    )


def test_problem_type_links_to_its_description(client: Client) -> None:
    page = client.get("/docs/problems")

    assert {each.slug: (each.status, each.title) for each in PROBLEM_TYPES} == TYPES
    for each in PROBLEM_TYPES:
        text = f"<h2>{each.status} {each.title}</h2><p>{each.description}</p>".replace("'", "&#x27;")
        assertInHTML(text, page.text)
        assert f'id="{each.slug}"' in page.text
