"""POST of a number, one submission, and what /api/fizzbuzz does not allow. test_api_log.py tests the list."""

from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.log import body_of, create_submissions
from tests.marks import commits
from tests.problems import assert_errors

pytestmark = commits

RANGE = rules.EXPECTED
UNKNOWN = 'Unknown member %s. The only member of this object is "number".'


@pytest.mark.parametrize(
    ("number", "result", "kind"),
    [
        (15, "FizzBuzz", "FizzBuzz"),
        (-3, "Fizz", "Fizz"),
        (5, "Buzz", "Buzz"),
        (7, "7", "Number"),
        (0, "FizzBuzz", "FizzBuzz"),
    ],
)
def test_post_records_the_number(client: Client, number: int, result: str, kind: str) -> None:
    response = client.post("/api/fizzbuzz", {"number": number}, "application/json")

    row = Submission.objects.get()
    assert response.status_code == 201
    assert response["Location"] == f"/api/fizzbuzz/{row.id}"
    assert response["Content-Type"] == "application/json"
    assert response.json() == body_of(row)
    assert (row.number, response.json()["result"], response.json()["kind"]) == (number, result, kind)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"number": 15}', "application/json"),
        ('{"number": "15"}', "application/json; charset=utf-8"),
        (' {"number": "+015"}\r\n', "application/json"),
    ],
)
def test_post_accepts_numbers_and_text(client: Client, body: str, content_type: str) -> None:
    response = client.generic("POST", "/api/fizzbuzz", body, content_type)

    assert response.status_code == 201
    assert response.json() == body_of(Submission.objects.get(number=15))


@pytest.mark.parametrize("number", [rules.SMALLEST, rules.LARGEST, 2**53 + 1])
def test_large_numbers_keep_every_digit(client: Client, number: int) -> None:
    for body in (f'{{"number": {number}}}', f'{{"number": "{number}"}}'):
        response = client.generic("POST", "/api/fizzbuzz", body, "application/json")

        assert f'"number":{number},' in response.text
        assert f'"number":{number},' in client.get(response["Location"]).text


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ('{"number": 15.0}', "#/number", f"It has a decimal point or an exponent. {RANGE} Received 15.0."),
        ('{"number": true}', "#/number", f"{RANGE} Received true."),
        ('{"number": [1]}', "#/number", f"{RANGE} Received an array."),
        ('{"number": {"a": 1}}', "#/number", f"{RANGE} Received an object."),
        ('{"number": "\\u0000<b>"}', "#/number", f'It contains a character U+0000. {RANGE} Received "\\u0000<b>".'),
        ('{"number": "%s"}' % ("9" * 99), "#/number", f'The number is too large. {RANGE} Received "{"9" * 59}….'),
        ('{"number": null}', "#/number", "This field may not be null."),
        ("{}", "#/number", "This field is required."),
        ("", "#/number", "This field is required."),
        ("[15]", "#", "Send a JSON object."),
        ("15", "#", "Send a JSON object."),
        ("null", "#", "Send a JSON object."),
        ('{"Number": 15}', "#", UNKNOWN % '"Number"'),
        ('{"number": 15, "\\u202e": {}, "\\u200b": 1}', "#", UNKNOWN % r'"\u200b"'),
        ('{"number": 15, "%s": 1}' % ("x" * 99), "#", UNKNOWN % f'"{"x" * 59}…'),
    ],
    ids=ascii,
)
def test_error_has_pointer_and_detail(client: Client, body: str, pointer: str, detail: str) -> None:
    response = client.generic("POST", "/api/fizzbuzz", body, "application/json")

    assert_errors(response, (pointer, detail))
    assert not Submission.objects.exists()


def test_get_one_submission(client: Client, django_assert_num_queries: Any) -> None:
    _, row, _ = create_submissions(1, 3, 15)

    with django_assert_num_queries(1):
        response = client.get(f"/api/fizzbuzz/{row.id}")

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response.json() == body_of(row)


@pytest.mark.parametrize(
    "id_", ["0", str(2**63 - 1), str(2**63), "9" * 19, "9" * 20, "-1", "+1", "x", "1.0", "٣", "1%00", "1/"]
)
def test_unknown_ids_return_404(client: Client, id_: str) -> None:
    create_submissions(15)

    response = client.get(f"/api/fizzbuzz/{id_}")

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")


def test_api_requires_no_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)

    assert client.post("/api/fizzbuzz", {"number": 15}, "application/json").status_code == 201


def test_browsable_page_has_a_working_form(client: Client) -> None:
    page = client.get("/api/fizzbuzz", headers={"accept": "text/html"})
    answer = client.post("/api/fizzbuzz", {"number": 15}, "application/json", headers={"accept": "text/html"})

    assert (page.status_code, page["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert '<form action="/api/fizzbuzz" method="POST" class="form-horizontal">' in page.text
    assert 'data-override="content"' in page.text  # a text field for JSON, which DRF's script sends
    assert (answer.status_code, answer["Content-Type"]) == (201, "text/html; charset=utf-8")
    assert Submission.objects.get().number == 15


def test_browsable_page_shows_the_error_and_what_was_typed(client: Client) -> None:
    typed = '{"number": "<script>"}'

    response = client.generic("POST", "/api/fizzbuzz", typed, "application/json", headers={"accept": "text/html"})

    assert response.status_code == 400
    assert "Enter a whole number from" in response.text
    assert f">\n{escape(typed)}</textarea>" in response.text
    assert not Submission.objects.exists()


def test_browsable_page_shows_a_part_of_a_large_batch(client: Client) -> None:
    numbers = {"numbers": [*range(10_000)]}

    page = client.post("/api/fizzbuzz/batch", numbers, "application/json", headers={"accept": "text/html"})

    assert page.status_code == 201
    assert "This page shows the first 100 of 10,000; the JSON has all of them." in page.text
    assert page.text.count("&quot;created_at&quot;") == 100
    assert len(page.content) < 60_000
