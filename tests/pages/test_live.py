from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from fizzbuzz.counts import folding
from tests.fresh import a_second_later
from tests.log import append
from tests.marks import commits

pytestmark = pytest.mark.django_db


def test_fragment_equals_the_part_of_the_first_page(client: Client) -> None:
    append(15, 7, 15)

    assert client.get("/live").text in client.get("/").text


def test_matching_etag_of_the_fragment_returns_304(client: Client) -> None:
    append(15)
    first = client.get("/live")

    same = client.get("/live", headers={"if-none-match": first["ETag"]})
    append(15)
    a_second_later()
    changed = client.get("/live", headers={"if-none-match": first["ETag"]})

    assert (same.status_code, same.content, same["ETag"]) == (304, b"", first["ETag"])
    assert same["Cache-Control"] == "public, max-age=0, s-maxage=2"
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_fragment_takes_three_queries(client: Client, django_assert_num_queries: Any, rows: int) -> None:
    append(*range(rows))

    with django_assert_num_queries(3):
        response = client.get("/live")

    assert response.text.count('<li id="top') == rows


@commits
def test_pages_take_as_many_queries_on_a_full_log(client: Client, django_assert_num_queries: Any) -> None:
    append(*range(5_000))
    while folding.fold():
        pass
    append(*range(50))

    for path, queries in {"/": 3, "/live": 0, "/stats": 2, "/numbers/15": 1}.items():
        with django_assert_num_queries(queries):
            assert client.get(path).status_code == 200
