"""POST of a number and of a batch, and one submission. test_log.py tests the list."""

import json
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from fizzbuzz import rules
from fizzbuzz.counts import ranking
from fizzbuzz.models import Submission
from tests.log import body_of, create_submissions
from tests.marks import commits
from tests.problems import assert_errors, assert_problem

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
    assert (response.status_code, response["Content-Type"]) == (201, "application/json")
    assert response["Location"] == f"/api/fizzbuzz/{row.id}"
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

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
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


ARRAY = "Send an array of numbers, such as [15, 7]."


def test_batch_returns_results_in_order(client: Client) -> None:
    response = client.post("/api/fizzbuzz/batch", {"numbers": [15, 7, "+7", 15, -3, "0", 7]}, "application/json")

    rows = Submission.objects.in_bulk()
    assert (response.status_code, response["Content-Type"], len(rows)) == (201, "application/json", 7)
    assert [each["number"] for each in response.json()] == [15, 7, 7, 15, -3, 0, 7]
    assert response.json() == [body_of(rows.pop(each["id"])) for each in response.json()]


def test_largest_batch_is_one_statement(client: Client, django_assert_num_queries: Any) -> None:
    numbers = [*range(9_998), rules.SMALLEST, rules.LARGEST]

    with django_assert_num_queries(3):  # BEGIN, INSERT, COMMIT
        response = client.post("/api/fizzbuzz/batch", {"numbers": numbers}, "application/json")

    assert response.status_code == 201
    assert [each["number"] for each in response.json()] == numbers
    assert len({each["id"] for each in response.json()}) == 10_000
    assert Submission.objects.count() == 10_000


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"numbers": []}, "#/numbers", "Send at least one number."),
        ({"numbers": ["x"] * 10_001}, "#/numbers", "Send at most 10000 numbers."),
        ({"numbers": "123"}, "#/numbers", ARRAY),
        ({"numbers": {"0": 1}}, "#/numbers", ARRAY),
        ({"numbers": None}, "#/numbers", "This field may not be null."),
        ({}, "#/numbers", "This field is required."),
        ({"number": 15}, "#", 'Unknown member "number". The only member of this object is "numbers".'),
        ([15], "#", "Send a JSON object."),
    ],
    ids=range(8),
)
def test_batch_rejects_other_values_than_a_list(client: Client, body: object, pointer: str, detail: str) -> None:
    response = client.generic("POST", "/api/fizzbuzz/batch", json.dumps(body), "application/json")

    assert_errors(response, (pointer, detail))
    assert not Submission.objects.exists()


def test_one_invalid_value_is_reported_and_nothing_recorded(client: Client) -> None:
    numbers: list[object] = [*range(10_000)]
    numbers[7_654] = "1e3"

    response = client.post("/api/fizzbuzz/batch", {"numbers": numbers}, "application/json")

    detail = f'It has a decimal point or an exponent. {rules.EXPECTED} Received "1e3".'
    assert_errors(response, ("#/numbers/7654", detail))
    assert not Submission.objects.exists()


def test_of_many_invalid_values_the_first_are_listed(client: Client) -> None:
    response = client.post("/api/fizzbuzz/batch", {"numbers": [1.5] * 25}, "application/json")

    detail = f"It has a decimal point or an exponent. {rules.EXPECTED} Received 1.5."
    errors = [(f"#/numbers/{position}", detail) for position in range(20)]
    assert_errors(response, *errors, detail="The first 20 errors are listed.")


def test_batches_wait_before_reads_do(client: Client) -> None:
    ranking.note_tail(ranking.MAX_TAIL_ROWS // 2 + 1)

    rejected = client.post("/api/fizzbuzz/batch", {"numbers": [15]}, "application/json")

    detail = "This request recorded nothing. The counts are catching up with the log: 100,001 rows remain."
    assert_problem(rejected, "not-recorded", f"{detail} Try again in a moment.", outcome="not-recorded")
    assert rejected["Retry-After"] == "5"
    assert client.post("/api/fizzbuzz", {"number": 15}, "application/json").status_code == 201
    assert client.get("/api/most_common").status_code == 200
