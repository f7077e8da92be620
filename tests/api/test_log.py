"""GET of the log: order, pages and filters."""

import base64

import pytest
from django.test import Client

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.log import body_of, create_submissions
from tests.marks import commits
from tests.problems import assert_errors, assert_problem

pytestmark = commits


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_get_lists_the_log_newest_first(client: Client) -> None:
    rows = create_submissions(1, 3, 15)

    response = client.get("/api/fizzbuzz")

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response.json() == {"next": None, "previous": None, "results": [body_of(row) for row in reversed(rows)]}


def test_pages_link_forwards_and_back(client: Client) -> None:
    Submission.objects.bulk_create(Submission(number=number) for number in range(250))
    newest_first = list(Submission.objects.order_by("-id").values_list("number", flat=True))

    forwards, address = [], "/api/fizzbuzz"
    while address:
        page = client.get(address).json()
        forwards.append([each["number"] for each in page["results"]])
        address, last = page["next"], page
    back, address = [], last["previous"]
    while address:
        page = client.get(address).json()
        back.append([each["number"] for each in page["results"]])
        address = page["previous"]

    assert forwards == [newest_first[:100], newest_first[100:200], newest_first[200:]]
    assert back == [newest_first[100:200], newest_first[:100]]


def test_pages_are_stable_while_the_log_grows(client: Client) -> None:
    Submission.objects.bulk_create(Submission(number=number) for number in range(101))
    oldest = Submission.objects.earliest("id")

    address = client.get("/api/fizzbuzz").json()["next"]
    create_submissions(15)

    assert client.get(address).json()["results"] == [body_of(oldest)]


@pytest.mark.parametrize(
    "value",
    [
        "x", "ÿ", cursor("p=abc"), cursor("p="), cursor("p=²"), cursor("p=1 OR 1=1"), cursor("p=" + "9" * 5_000),
        cursor("p=" + str(2**63)), cursor("o=-5"), cursor("o=x"), cursor("r=x"),
    ],
    ids=ascii,
)  # fmt: skip
def test_invalid_cursors_return_404(client: Client, value: str) -> None:
    response = client.get("/api/fizzbuzz", {"cursor": value})

    assert_problem(response, "not-found", "Invalid cursor")


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("", [3, 1]),
        ("%", [3, 1]),
        ("\x00", [3, 1]),
        (cursor(f"p={rules.LARGEST}"), [3, 1]),
        (cursor(f"p={rules.SMALLEST}"), []),
        (cursor("o=999999999999999999999"), [3, 1]),
        (cursor("r=1&p=-5"), [3, 1]),
    ],
    ids=ascii,
)
def test_unusual_cursors_return_a_page(client: Client, value: str, numbers: list[int]) -> None:
    create_submissions(1, 3)

    response = client.get("/api/fizzbuzz", {"cursor": value})

    assert response.status_code == 200
    assert [each["number"] for each in response.json()["results"]] == numbers


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"number": "3"}, [3]),
        ({"number": "+03"}, [3]),
        ({"kind": "Fizz"}, [-3, 3]),
        ({"kind": "Buzz"}, [5]),
        ({"kind": "FizzBuzz"}, [0, 15]),
        ({"kind": "Number"}, [-7, 7]),
        ({"kind": "Fizz", "number": "3"}, [3]),
        ({"kind": "Buzz", "number": "3"}, []),
    ],
)
def test_filters(client: Client, query: dict[str, str], numbers: list[int]) -> None:
    create_submissions(3, 5, 15, 7, -3, 0, -7)

    response = client.get("/api/fizzbuzz", query)

    assert [each["number"] for each in response.json()["results"]] == numbers


def test_pages_keep_the_filter(client: Client) -> None:
    Submission.objects.bulk_create(Submission(number=number) for number in [3, 7] * 101)

    second = client.get(client.get("/api/fizzbuzz?kind=Fizz").json()["next"]).json()

    assert [each["number"] for each in second["results"]] == [3]


@pytest.mark.parametrize("kind", ["fizz", "", "Fizz ", "x\x00", "<b>"])
def test_kind_filter_rejects_invalid_values(client: Client, kind: str) -> None:
    response = client.get("/api/fizzbuzz", {"kind": kind})

    assert_errors(response, ("kind", "Enter one of Fizz, Buzz, FizzBuzz, Number."))
