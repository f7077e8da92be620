import json
from typing import Any

import pytest
from django.test import Client

from fizzbuzz import rules
from fizzbuzz.counts import ranking
from fizzbuzz.models import Submission
from tests.log import body_of
from tests.marks import commits
from tests.problems import assert_errors, assert_problem

pytestmark = commits

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
