"""POST of a number and of a batch, and GET of one submission."""

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

pytestmark = pytest.mark.django_db  # nothing is recorded, but for the tests with `commits`

RANGE = rules.EXPECTED
UNKNOWN = 'Unknown member %s. The only member of this object is "%s".'
ARRAY = "Send an array of numbers, such as [15, 7]."


@commits
@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((str(number), number) for number in (15, -3, 5, 7, 0, 2**53 + 1, rules.SMALLEST, rules.LARGEST)),
        *((f'"{text}"', int(text)) for text in ("+015", f"{rules.SMALLEST}")),
    ],
)
def test_post_records_the_number(client: Client, django_assert_num_queries: Any, value: str, number: int) -> None:
    create_submissions(1)

    response = client.generic("POST", "/api/fizzbuzz", f'{{"number": {value}}}', "application/json")
    with django_assert_num_queries(1):
        read = client.get(response["Location"])

    row = Submission.objects.get(number=number)
    text = json.dumps(body_of(row), separators=(",", ":"))
    assert response["Location"] == f"/api/fizzbuzz/{row.id}"
    assert (response.status_code, response["Content-Type"], response.text) == (201, "application/json", text)
    assert (read.status_code, read["Content-Type"], read.text) == (200, "application/json", text)


def batch(*numbers: object) -> str:
    return json.dumps({"numbers": numbers})


SINGLES = [
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
    ('{"Number": 15}', "#", UNKNOWN % ('"Number"', "number")),
    ('{"number": 15, "\\u202e": {}, "\\u200b": 1}', "#", UNKNOWN % (r'"\u200b"', "number")),
    ('{"number": 15, "%s": 1}' % ("x" * 99), "#", UNKNOWN % (f'"{"x" * 59}…', "number")),
]
BATCHES = [
    (batch(), "#/numbers", "Send at least one number."),
    (batch(*["x"] * 10_001), "#/numbers", "Send at most 10000 numbers."),
    (
        batch(*range(7_654), "1e3", *range(2_345)),
        "#/numbers/7654",
        f'It has a decimal point or an exponent. {RANGE} Received "1e3".',
    ),
    ('{"numbers": "123"}', "#/numbers", ARRAY),
    ('{"numbers": {"0": 1}}', "#/numbers", ARRAY),
    ('{"numbers": null}', "#/numbers", "This field may not be null."),
    ("{}", "#/numbers", "This field is required."),
    ('{"number": 15}', "#", UNKNOWN % ('"number"', "numbers")),
    ("[15]", "#", "Send a JSON object."),
]


@pytest.mark.parametrize(
    ("path", "body", "pointer", "detail"),
    [
        *(("/api/fizzbuzz", *each) for each in SINGLES),
        *(("/api/fizzbuzz/batch", *each) for each in BATCHES),
    ],
    ids=lambda value: ascii(value[:24]),
)
def test_error_has_pointer_and_detail(client: Client, path: str, body: str, pointer: str, detail: str) -> None:
    response = client.generic("POST", path, body, "application/json")

    assert_errors(response, (pointer, detail))
    assert not Submission.objects.exists()


def test_of_many_invalid_values_the_first_are_listed(client: Client) -> None:
    response = client.post("/api/fizzbuzz/batch", {"numbers": [1.5] * 25}, "application/json")

    detail = f"It has a decimal point or an exponent. {RANGE} Received 1.5."
    errors = [(f"#/numbers/{position}", detail) for position in range(20)]
    assert_errors(response, *errors, detail="The first 20 errors are listed.")


@commits
def test_largest_batch_is_one_statement_and_returns_the_results_in_order(
    client: Client, django_assert_num_queries: Any
) -> None:
    numbers = [15, 7, "+7", 15, -3, "0", 7, rules.SMALLEST, rules.LARGEST, *range(9_991)]

    with django_assert_num_queries(3):  # BEGIN, INSERT, COMMIT
        response = client.post("/api/fizzbuzz/batch", {"numbers": numbers}, "application/json")

    rows = Submission.objects.in_bulk()
    assert (response.status_code, response["Content-Type"], len(rows)) == (201, "application/json", 10_000)
    assert [each["number"] for each in response.json()] == [*map(int, numbers)]
    assert response.json() == [body_of(rows.pop(each["id"])) for each in response.json()]


@commits
def test_batches_wait_before_reads_do(client: Client) -> None:
    ranking.note_tail(ranking.MAX_TAIL_ROWS // 2 + 1)

    rejected = client.post("/api/fizzbuzz/batch", {"numbers": [15]}, "application/json")

    detail = "This request recorded nothing. The counts are catching up with the log: 100,001 rows remain."
    assert_problem(rejected, "not-recorded", f"{detail} Try again in a moment.", outcome="not-recorded")
    assert rejected["Retry-After"] == "5"
    assert client.post("/api/fizzbuzz", {"number": 15}, "application/json").status_code == 201
    assert client.get("/api/most_common").status_code == 200


@pytest.mark.parametrize("id_", ["0", str(2**63 - 1), str(2**63), "9" * 20, "-1", "+1"])
def test_unknown_ids_return_404(client: Client, id_: str) -> None:
    create_submissions(15)

    response = client.get(f"/api/fizzbuzz/{id_}")

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")


def test_browsable_page_shows_the_error_and_what_was_typed(client: Client) -> None:
    typed = '{"number": "<script>"}'

    response = client.generic("POST", "/api/fizzbuzz", typed, "application/json", headers={"accept": "text/html"})

    assert response.status_code == 400
    assert "Enter a whole number from" in response.text
    assert f">\n{escape(typed)}</textarea>" in response.text


@commits
def test_browsable_page_shows_a_part_of_a_large_batch(client: Client) -> None:
    numbers = {"numbers": [*range(1_001)]}

    page = client.post("/api/fizzbuzz/batch", numbers, "application/json", headers={"accept": "text/html"})

    assert (page.status_code, page.text.count("&quot;created_at&quot;")) == (201, 100)
    assert "This page shows the first 100 of 1,001; the JSON has all of them." in page.text
