from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from fizzbuzz import rollup, views
from tests.log import append
from tests.marks import commits

pytestmark = pytest.mark.django_db


def test_fragment_is_fit_for_a_cache_of_all(client: Client) -> None:
    append(15)

    response = client.get("/live", headers={"cookie": "csrftoken=x; sessionid=y"})

    assert (response.status_code, response["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert response["Cache-Control"] == "public, max-age=0, s-maxage=2"
    assert response["Vary"] == "Accept-Encoding"
    assert not response.cookies


def test_fragment_is_what_the_first_page_shows(client: Client) -> None:
    append(15, 7, 15)

    assert client.get("/live").text in client.get("/").text


def test_unchanged_fragment_is_not_sent_again(client: Client) -> None:
    append(15)
    first = client.get("/live")

    same = client.get("/live", headers={"if-none-match": first["ETag"]})
    append(15)
    cache.clear()  # a second later
    changed = client.get("/live", headers={"if-none-match": first["ETag"]})

    assert (same.status_code, same.content, same["ETag"]) == (304, b"", first["ETag"])
    assert same["Cache-Control"] == "public, max-age=0, s-maxage=2"
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_fragment_is_made_once_however_many_look(
    client: Client, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "LIVE_SECONDS", 60)

    with django_assert_num_queries(3):
        first, second = client.get("/live"), client.get("/live")

    assert second.content == first.content


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_fragment_takes_three_queries(client: Client, django_assert_num_queries: Any, rows: int) -> None:
    append(*range(rows))

    with django_assert_num_queries(3):
        response = client.get("/live")

    assert response.text.count('<li id="top') == rows


@commits
def test_pages_take_as_many_queries_on_a_full_log(client: Client, django_assert_num_queries: Any) -> None:
    append(*range(5_000))
    while rollup.fold():
        pass
    append(*range(50))

    for path in ("/", "/live", "/numbers/15"):
        with django_assert_num_queries(3):
            assert client.get(path).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_fragment_is_only_read(client: Client, method: str) -> None:
    response = client.generic(method, "/live")

    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")
