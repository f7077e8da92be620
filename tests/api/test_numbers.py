from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client, RequestFactory
from django.urls import resolve

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.problems import assert_problem

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("count", [0, 1, 3])
def test_number_is_classified_and_counted(client: Client, django_assert_num_queries: Any, count: int) -> None:
    Submission.objects.bulk_create(Submission(number=number) for number in [15] * count + [7])

    with django_assert_num_queries(1):
        response = client.get("/api/numbers/15")

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
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
