"""The filter by kind scans a bounded number of rows per page, however rare the kind is."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from fizzbuzz.api import viewsets
from fizzbuzz.models import Submission

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def scanned_rows(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(viewsets, "MAX_SCANNED_ROWS", 10)
    return 10


def submit(*numbers: int) -> None:
    Submission.objects.bulk_create(Submission(number=number) for number in numbers)


def walk(client: Client, address: str | None, link: str) -> list[list[int]]:
    """Follow the links from this page, and return the numbers of each page."""
    pages = []
    while address:
        page = client.get(address).json()
        pages.append([each["number"] for each in page["results"]])
        address = page[link]
    return pages


def test_rare_kind_is_found_page_by_page(client: Client) -> None:
    submit(5, *[7] * 24, 10, *[7] * 5, 25, 20)

    forwards = walk(client, "/api/fizzbuzz?kind=Buzz", "next")

    assert forwards == [[20, 25, 10], [], [], [5]]


def test_pages_of_a_rare_kind_link_back(client: Client) -> None:
    submit(5, *[7] * 24, 10, *[7] * 5, 25, 20)
    address = "/api/fizzbuzz?kind=Buzz"
    for _ in range(3):
        address = client.get(address).json()["next"]
    last = client.get(address).json()

    assert walk(client, last["previous"], "previous") == [[], [], [20, 25, 10]]


def test_empty_page_links_to_its_neighbours(client: Client) -> None:
    submit(5, *[7] * 10, 10)
    first = client.get("/api/fizzbuzz?kind=Buzz").json()
    empty = client.get(first["next"]).json()

    assert [each["number"] for each in first["results"]] == [10]
    assert walk(client, empty["previous"], "previous")[-1] == [10]
    assert walk(client, first["next"], "next")[-1] == [5]


def test_gap_in_the_ids_adds_no_empty_page(client: Client) -> None:
    submit(5, 7, 7)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fizzbuzz_submission (id, number) OVERRIDING SYSTEM VALUE"
            " SELECT max(id) + 1000000000, 10 FROM fizzbuzz_submission"
        )

    assert walk(client, "/api/fizzbuzz?kind=Buzz", "next") == [[10, 5]]


@pytest.mark.parametrize("cursor", ["", "&cursor=cj0xJnA9MA=="], ids=["newest first", "from the oldest on"])
def test_page_scans_at_most_the_row_limit(client: Client, scanned_rows: int, cursor: str) -> None:
    submit(*[7] * 50)

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
