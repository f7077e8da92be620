"""GET of the log: order, pages and filters. A page of a kind scans a bounded number of rows, however rare it is."""

import base64
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from fizzbuzz import rules
from fizzbuzz.api import viewsets
from fizzbuzz.models import Submission
from tests.log import append, body_of, create_submissions
from tests.problems import assert_problem

pytestmark = pytest.mark.django_db


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def walk(client: Client, address: str | None, link: str) -> list[list[int]]:
    """Follow the links from this page, and return the numbers of each page."""
    pages = []
    while address:
        page = client.get(address).json()
        pages.append([each["number"] for each in page["results"]])
        address = page[link]
    return pages


def test_pages_are_newest_first_and_link_forwards_and_back(client: Client) -> None:
    append(*range(250))
    newest_first = list(Submission.objects.order_by("-id").values_list("number", flat=True))

    second = client.get("/api/fizzbuzz").json()["next"]
    third = client.get(second).json()["next"]

    assert walk(client, "/api/fizzbuzz", "next") == [newest_first[:100], newest_first[100:200], newest_first[200:]]
    assert walk(client, third, "previous") == [newest_first[200:], newest_first[100:200], newest_first[:100]]


def test_pages_are_stable_while_the_log_grows(client: Client) -> None:
    append(*range(101))
    oldest = Submission.objects.earliest("id")

    address = client.get("/api/fizzbuzz").json()["next"]
    create_submissions(15)

    assert client.get(address).json()["results"] == [body_of(oldest)]


@pytest.mark.parametrize(
    "value",
    [
        "x", cursor("p=abc"), cursor("p="), cursor("p=²"), cursor("p=1 OR 1=1"), cursor("p=" + "9" * 5_000),
        cursor("p=" + str(2**63)), cursor("o=-5"), cursor("r=x"),
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

    assert [each["number"] for each in client.get("/api/fizzbuzz", query).json()["results"]] == numbers


@pytest.fixture
def scanned_rows(monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of rows that a page of a kind scans."""
    monkeypatch.setattr(viewsets, "MAX_SCANNED_ROWS", 10)
    return 10


@pytest.mark.usefixtures("scanned_rows")
def test_pages_of_a_rare_kind_link_forwards_and_back(client: Client) -> None:
    append(5, *[7] * 24, 10, *[7] * 5, 25, 20)
    pages = [[20, 25, 10], [], [], [5]]
    address = "/api/fizzbuzz?kind=Buzz"

    assert walk(client, address, "next") == pages
    for position in range(4):
        assert walk(client, address, "previous") == pages[position::-1]
        address = client.get(address).json()["next"]


@pytest.mark.usefixtures("scanned_rows")
def test_gap_in_the_ids_adds_no_empty_page(client: Client) -> None:
    append(5, 7, 7)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fizzbuzz_submission (id, number) OVERRIDING SYSTEM VALUE"
            " SELECT max(id) + 1000000000, 10 FROM fizzbuzz_submission"
        )

    assert walk(client, "/api/fizzbuzz?kind=Buzz", "next") == [[10, 5]]


@pytest.mark.parametrize("cursor", ["", "&cursor=cj0xJnA9MA=="], ids=["newest first", "from the oldest on"])
def test_page_scans_at_most_the_row_limit(client: Client, scanned_rows: int, cursor: str) -> None:
    append(*[7] * 50)

    with CaptureQueriesContext(connection) as queries:
        client.get(f"/api/fizzbuzz?kind=Buzz{cursor}")

    for statement, rows in zip(queries.captured_queries, (scanned_rows + 1, scanned_rows), strict=True):
        with connection.cursor() as explain:
            for way in ("seqscan", "bitmapscan", "sort"):  # which would do for the few rows of a test
                explain.execute(f"SET LOCAL enable_{way} = off")
            explain.execute(f"EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) {statement['sql']}")
            plan = "\n".join(line for (line,) in explain.fetchall())
        read = [int(float(found)) for found in re.findall(r"(?:Removed by Filter: |rows=)([\d.]+)", plan)]
        assert max(read) == rows, plan
