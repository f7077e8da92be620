"""The most common numbers, and one number."""

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client, RequestFactory
from django.urls import resolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.log import append
from tests.problems import assert_errors, assert_problem

pytestmark = pytest.mark.django_db


def test_most_common_come_first_and_ties_are_ordered_by_number(client: Client) -> None:
    append(7, 15, 15, -3, -3, 5, 5, 5, rules.LARGEST, rules.SMALLEST)

    response = client.get("/api/most_common?limit=5")

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response.json() == [
        {"number": 5, "result": "Buzz", "kind": "Buzz", "count": 3},
        {"number": -3, "result": "Fizz", "kind": "Fizz", "count": 2},
        {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz", "count": 2},
        {"number": rules.SMALLEST, "result": str(rules.SMALLEST), "kind": "Number", "count": 1},
        {"number": 7, "result": "7", "kind": "Number", "count": 1},
    ]


def test_matching_etag_returns_304(client: Client) -> None:
    append(15)
    first = client.get("/api/most_common")

    same = client.get("/api/most_common", headers={"if-none-match": first["ETag"]})
    append(15)
    changed = client.get("/api/most_common", headers={"if-none-match": first["ETag"]})

    assert (first["Cache-Control"], same["Cache-Control"]) == ("no-cache", "no-cache")
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", first["ETag"])
    assert (changed.status_code, changed.json()[0]["count"]) == (200, 2)


@pytest.mark.parametrize(("query", "length"), [("", 3), ("?limit=1", 1), ("?limit=%2B007", 7), ("?limit=100", 100)])
def test_limit_defaults_to_three(client: Client, query: str, length: int) -> None:
    append(*range(101))

    response = client.get(f"/api/most_common{query}")

    assert [each["number"] for each in response.json()] == list(range(length))


@pytest.mark.parametrize("limit", ["0", "101", "-1", "", " 3", "3.0"])
def test_invalid_limits_are_rejected(client: Client, limit: str) -> None:
    response = client.get("/api/most_common", {"limit": limit})

    assert_errors(response, ("limit", f'Enter a whole number from 1 to 100. Received "{limit}".'))


@given(st.lists(st.integers(-4, 4), max_size=30), st.integers(1, 10))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_most_common_is_the_definition(client: Client, numbers: list[int], limit: int) -> None:
    Submission.objects.all().delete()
    append(*numbers)
    counts = {number: numbers.count(number) for number in numbers}
    definition = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:limit]

    response = client.get(f"/api/most_common?limit={limit}")

    assert [(each["number"], each["count"]) for each in response.json()] == definition


@pytest.mark.parametrize("count", [0, 1, 3])
def test_number_is_classified_and_counted(client: Client, django_assert_num_queries: Any, count: int) -> None:
    append(*[15] * count, 7)

    with django_assert_num_queries(1):
        response = client.get("/api/numbers/15")

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response.json() == {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz", "count": count}
    assert Submission.objects.count() == count + 1


@pytest.mark.parametrize(("text", "number"), [("007", 7), ("+7", 7), ("-0", 0), ("-7", -7)])
def test_number_is_parsed_by_the_rules(client: Client, text: str, number: int) -> None:
    assert client.get(f"/api/numbers/{text}").json()["number"] == number


@pytest.mark.parametrize("number", [rules.SMALLEST, rules.LARGEST])
def test_large_numbers_keep_every_digit(client: Client, number: int) -> None:
    assert f'"number":{number},"result":' in client.get(f"/api/numbers/{number}").text


@pytest.mark.parametrize(
    ("text", "reason"),
    [("１５", "It contains a full-width digit one U+FF11. "), (" 15", "It contains a space U+0020. ")],
)
def test_invalid_number_returns_404(client: Client, text: str, reason: str) -> None:
    response = client.get(f"/api/numbers/{quote(text)}")

    assert_problem(response, "not-found", reason + rules.EXPECTED)


@pytest.mark.parametrize("path", ["/api/numbers/15", "/api/most_common", "/api/fizzbuzz"])
def test_server_may_omit_an_empty_query_string(rf: RequestFactory, path: str) -> None:
    """WSGI allows that."""
    request = rf.get(path)
    del request.META["QUERY_STRING"]
    view, arguments, named = resolve(path)

    assert view(request, *arguments, **named).status_code == 200
