"""Each page, download and read takes a literal number of queries, however long the log is."""

from typing import Any

import pytest
from django.test import Client

from fizzbuzz.counts import folding
from fizzbuzz.counts.activity import PERIODS
from tests.log import append

pytestmark = pytest.mark.django_db

QUERIES = {
    "/": 3,
    "/live": 3,
    "/numbers/15": 1,
    **{f"/stats?window={period}": 2 for period in PERIODS},
    "/stats/activity.csv": 1,
    "/stats/most-common.jsonl": 1,
    "/stats/submissions.csv": 3,
    "/api/fizzbuzz": 1,
    "/api/fizzbuzz?number=15&kind=FizzBuzz": 1,
    "/api/fizzbuzz?number=15&kind=Buzz": 0,
    "/api/numbers/15": 1,
    "/api/most_common": 1,
    "/api/most_common?since=2026-01-31": 0,  # on a connection of its own, so that it can't exhaust the pool
}


@pytest.mark.parametrize("rows", [0, 1, 3_000])
@pytest.mark.parametrize(("path", "queries"), QUERIES.items())
def test_number_of_queries(client: Client, django_assert_num_queries: Any, path: str, queries: int, rows: int) -> None:
    append(*range(rows))
    folding.fold()
    append(*range(rows // 10))

    with django_assert_num_queries(queries):
        assert client.get(path).status_code == 200
