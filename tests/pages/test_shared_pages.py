"""Pages that are the same for all visitors, and shared by their requests."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from fizzbuzz.api import schema
from tests.fresh import a_second_later
from tests.log import append
from tests.marks import commits

pytestmark = pytest.mark.django_db

PAGES = ["/", "/live", "/stats", "/stats?window=month"]
FILES = ["/stats/activity.csv", "/stats/most-common.jsonl", "/stats/submissions.csv"]
SHARED = pytest.mark.parametrize("path", [*PAGES, *FILES])


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
def test_shared_page_is_rendered_once_a_second_with_an_etag(
    client: Client, django_assert_num_queries: Any, path: str
) -> None:
    first = client.get(path)
    append(15)

    with django_assert_num_queries(0):
        second = client.get(path, headers={"host": "localhost"})
        same = client.get(path, headers={"if-none-match": first["ETag"]})
    a_second_later()
    third = client.get(path, headers={"if-none-match": first["ETag"]})

    assert second.content == first.content
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", first["ETag"])
    assert same["Cache-Control"] == "public, max-age=0, s-maxage=2"
    assert (third.status_code, third["ETag"] == first["ETag"], third.content == first.content) == (200, False, False)


@pytest.mark.parametrize("path", PAGES)
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


@commits
@pytest.mark.parametrize("headers", [{}, {"hx-request": "true"}])
@pytest.mark.parametrize("text", ["15", "x"])
def test_private_responses_are_not_cacheable(client: Client, headers: dict[str, str], text: str) -> None:
    response = client.post("/", {"number": text}, headers=headers)

    assert response["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert not response.cookies


def test_fragment_equals_the_part_of_the_first_page(client: Client) -> None:
    append(15, 7, 15)

    assert client.get("/live").text in client.get("/").text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "content_type", "begins"),
    [
        ("/robots.txt", 'text/plain; charset="utf-8"', b"User-agent: *\nDisallow: /admin/\nDisallow: /api/\n"),
        ("/favicon.ico", "image/x-icon", b"\x00\x00\x01\x00\x01\x00"),
        ("/apple-touch-icon.png", "image/png", b"\x89PNG\r\n"),
    ],
)
def test_files_that_browsers_and_crawlers_look_for(
    client: Client, method: str, path: str, content_type: str, begins: bytes
) -> None:
    response = client.generic(method, path)

    assert (response.status_code, response["Content-Type"]) == (200, content_type)
    assert response.getvalue()[: len(begins)] == (begins if method == "GET" else b"")


def test_security_txt_names_the_feedback_url(client: Client, settings: Any) -> None:
    assert client.get("/.well-known/security.txt").status_code == 404

    settings.FEEDBACK_URL = "mailto:team@example.org"
    response = client.get("/.well-known/security.txt")

    assert response["Content-Type"] == "text/plain; charset=utf-8"
    contact, expires = response.text.splitlines()
    assert contact == "Contact: mailto:team@example.org"
    in_a_month = datetime.fromisoformat(re.fullmatch("Expires: (.*Z)", expires)[1]) - datetime.now(UTC)  # type: ignore[index]
    assert timedelta(days=29) < in_a_month <= timedelta(days=30)


@pytest.mark.parametrize("format_", ["json", "yaml"])
def test_api_document_is_generated_once(client: Client, format_: str) -> None:
    schema._document.cache_clear()
    first = client.get(f"/api/schema?format={format_}")
    again = client.get(f"/api/schema?format={format_}&x=1")
    same = client.get(f"/api/schema?format={format_}", headers={"if-none-match": first["ETag"]})

    assert again.content == first.content
    assert same.status_code == 304
    assert schema._document.cache_info().misses == 1
