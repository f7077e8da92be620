"""Pages that are the same for all visitors, and shared by their requests."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from django.test import Client

from fizzbuzz.api import schema
from fizzbuzz.models import Submission
from tests.fresh import a_second_later
from tests.log import append

pytestmark = pytest.mark.django_db

PAGES = ["/", "/live", "/stats", "/stats?window=month"]
FILES = ["/stats/activity.csv", "/stats/most-common.jsonl", "/stats/submissions.csv"]
SHARED = pytest.mark.parametrize("path", [*PAGES, *FILES])
FRAGMENT = pytest.mark.parametrize("path", PAGES)


@SHARED
@pytest.mark.parametrize("cookie", ["", "csrftoken=x; sessionid=y", f"csrftoken={'x' * 32}; sessionid={'y' * 32}"])
def test_shared_page_is_the_same_for_everyone(client: Client, path: str, cookie: str) -> None:
    append(15)
    plain = client.get(path)

    page = client.get(path, headers={"cookie": cookie, "host": "localhost", "accept-language": "fr"})

    assert page.content == plain.content
    assert page["Cache-Control"] == "public, max-age=0, s-maxage=2"
    assert page.get("Vary") == (None if path in FILES else "Accept-Encoding")
    assert not page.cookies


@SHARED
def test_shared_page_is_rendered_once_a_second(client: Client, django_assert_num_queries: Any, path: str) -> None:
    first = client.get(path)
    append(15)

    with django_assert_num_queries(0):
        second = client.get(path, headers={"host": "localhost"})
    a_second_later()
    third = client.get(path)

    assert second.content == first.content
    assert third.content != first.content


@SHARED
def test_matching_etag_of_a_shared_page_returns_304(client: Client, path: str) -> None:
    append(15)
    first = client.get(path)
    same = client.get(path, headers={"if-none-match": first["ETag"]})
    append(15)
    a_second_later()
    changed = client.get(path, headers={"if-none-match": first["ETag"]})

    assert (same.status_code, same.content, same["ETag"]) == (304, b"", first["ETag"])
    assert same["Cache-Control"] == "public, max-age=0, s-maxage=2"
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


@FRAGMENT
def test_shared_page_is_compressed_for_clients_that_accept_it(client: Client, path: str) -> None:
    plain = client.get(path)
    gzipped = client.get(path, headers={"accept-encoding": "br, gzip"})
    unwanted = client.get(path, headers={"accept-encoding": "br, gzip;q=0"})
    same = client.get(path, headers={"accept-encoding": "gzip", "if-none-match": gzipped["ETag"]})

    assert gzip.decompress(gzipped.content) == plain.content == unwanted.content
    assert gzipped["Content-Encoding"] == "gzip"
    assert gzipped["Content-Length"] == str(len(gzipped.content))
    assert gzipped["ETag"] != plain["ETag"]
    assert (same.status_code, same["ETag"], same["Vary"]) == (304, gzipped["ETag"], "Accept-Encoding")


@pytest.mark.parametrize("path", ["/?utm_source=x", "/live?x=1", "/stats?x=1", "/stats/most-common.jsonl?x=1"])
def test_unknown_parameters_share_the_cached_page(client: Client, django_assert_num_queries: Any, path: str) -> None:
    known = client.get(path.partition("?")[0])

    with django_assert_num_queries(0):
        page = client.get(path)

    assert (page.status_code, page.content) == (200, known.content)


@pytest.mark.parametrize("headers", [{}, {"hx-request": "true"}])
@pytest.mark.parametrize("text", ["15", "x"])
def test_private_responses_are_not_cacheable(client: Client, headers: dict[str, str], text: str) -> None:
    response = client.post("/", {"number": text}, headers=headers)

    assert response["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert not response.cookies


def test_own_result_is_exact_although_shared_figures_may_be_a_second_old(client: Client) -> None:
    client.get("/")

    pages = [client.post("/", {"number": "15"}, headers={"hx-request": "true"}).text for _ in range(2)]

    assert ["<dd>1 time</dd>" in page for page in pages] == [True, False]
    assert ["<dd>2 times</dd>" in page for page in pages] == [False, True]
    assert ["Nothing yet. Be the first." in page for page in pages] == [True, True]
    assert Submission.objects.count() == 2


def test_robots_txt_excludes_other_urls_than_pages(client: Client) -> None:
    response = client.get("/robots.txt")

    assert (response.status_code, response["Content-Type"]) == (200, "text/plain")
    assert response.text.splitlines() == [
        "User-agent: *",
        "Disallow: /admin/",
        "Disallow: /api/",
        "Disallow: /live",
        "Disallow: /stats/",
    ]


@pytest.mark.parametrize("format_", ["json", "yaml"])
def test_api_document_is_generated_once(client: Client, format_: str) -> None:
    schema._document.cache_clear()
    first = client.get(f"/api/schema?format={format_}")
    again = client.get(f"/api/schema?format={format_}&x=1")
    same = client.get(f"/api/schema?format={format_}", headers={"if-none-match": first["ETag"]})

    assert again.content == first.content
    assert same.status_code == 304
    assert schema._document.cache_info().misses == 1
