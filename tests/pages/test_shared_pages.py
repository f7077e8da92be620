"""Pages that are the same for all visitors, and shared by their requests; and how many queries a page or read takes."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from fizzbuzz.api import schema
from fizzbuzz.counts import folding
from fizzbuzz.counts.activity import PERIODS
from tests.fresh import a_second_later
from tests.log import append

pytestmark = pytest.mark.django_db

PAGES = ["/", "/live", "/stats", "/stats?window=month"]
FILES = ["/stats/activity.csv", "/stats/most-common.jsonl", "/stats/submissions.csv"]
CACHE_CONTROL = "public, max-age=0, s-maxage=2"
COOKIES = ["", "csrftoken=x; sessionid=y", f"csrftoken={'x' * 32}; sessionid={'y' * 32}"]
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


@pytest.mark.parametrize("path", [*PAGES, *FILES])
def test_shared_page_is_rendered_once_a_second_for_everyone(
    client: Client, django_assert_num_queries: Any, path: str
) -> None:
    first = client.get(path)
    append(15)

    with django_assert_num_queries(0):
        others = [
            client.get(path, headers={"cookie": cookie, "host": "localhost", "accept-language": "fr"})
            for cookie in COOKIES
        ]
        others.append(client.get(path + ("&x=1" if "?" in path else "?x=1")))
        same = client.get(path, headers={"if-none-match": first["ETag"]})
    a_second_later()
    changed = client.get(path, headers={"if-none-match": first["ETag"]})

    for page in others:
        assert (page.status_code, page.content, page["Cache-Control"]) == (200, first.content, CACHE_CONTROL)
        assert page.get("Vary") == (None if path in FILES else "Accept-Encoding")
        assert not page.cookies
    unchanged = (same.status_code, same.content, same["ETag"], same["Cache-Control"])
    assert unchanged == (304, b"", first["ETag"], CACHE_CONTROL)
    assert changed.status_code == 200
    assert not {changed["ETag"], changed.content} & {first["ETag"], first.content}


def test_shared_page_is_compressed_for_clients_that_accept_it(client: Client) -> None:
    plain = client.get("/")
    gzipped = client.get("/", headers={"accept-encoding": "br, gzip"})
    unwanted = client.get("/", headers={"accept-encoding": "br, gzip;q=0"})
    same = client.get("/", headers={"accept-encoding": "gzip", "if-none-match": gzipped["ETag"]})

    assert gzip.decompress(gzipped.content) == plain.content == unwanted.content
    assert (gzipped["Content-Encoding"], gzipped["Content-Length"]) == ("gzip", str(len(gzipped.content)))
    assert gzipped["ETag"] != plain["ETag"]
    assert (same.status_code, same["ETag"], same["Vary"]) == (304, gzipped["ETag"], "Accept-Encoding")


@pytest.mark.parametrize("rows", [0, 3_000])
def test_number_of_queries_is_the_same_however_long_the_log_is(
    client: Client, django_assert_num_queries: Any, rows: int
) -> None:
    append(*range(rows))
    folding.fold()
    append(*range(rows // 10))

    for path, queries in QUERIES.items():
        a_second_later()
        with django_assert_num_queries(queries, info=path):
            assert client.get(path).status_code == 200


def test_files_that_browsers_and_crawlers_look_for(client: Client) -> None:
    for path, content_type, begins in (
        ("/robots.txt", 'text/plain; charset="utf-8"', b"User-agent: *\nDisallow: /admin/\nDisallow: /api/\n"),
        ("/favicon.ico", "image/x-icon", b"\x00\x00\x01\x00\x01\x00"),
        ("/apple-touch-icon.png", "image/png", b"\x89PNG\r\n"),
    ):
        response, head = client.get(path), client.head(path)

        assert (response.status_code, response["Content-Type"]) == (200, content_type)
        assert response.getvalue().startswith(begins)
        assert (head.status_code, head["Content-Type"], head.getvalue()) == (200, content_type, b"")


def test_security_txt_names_the_feedback_url(client: Client, settings: Any) -> None:
    assert client.get("/.well-known/security.txt").status_code == 404

    settings.FEEDBACK_URL = "mailto:team@example.org"
    response = client.get("/.well-known/security.txt")

    assert response["Content-Type"] == "text/plain; charset=utf-8"
    contact, expires = response.text.splitlines()
    assert contact == "Contact: mailto:team@example.org"
    in_a_month = datetime.fromisoformat(re.fullmatch("Expires: (.*Z)", expires)[1]) - datetime.now(UTC)  # type: ignore[index]
    assert timedelta(days=29) < in_a_month <= timedelta(days=30)


def test_api_document_is_generated_once(client: Client) -> None:
    first = client.get("/api/schema?format=json")
    generated = schema._document.cache_info().misses
    again = client.get("/api/schema?format=json&x=1")
    same = client.get("/api/schema?format=json", headers={"if-none-match": first["ETag"]})

    assert again.content == first.content
    assert same.status_code == 304
    assert schema._document.cache_info().misses == generated
