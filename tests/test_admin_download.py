"""Downloads of the log from the admin: complete, filtered, limited, and with bounded memory."""

import csv
import io
import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.asserts import assertInHTML, assertRedirects

from fizzbuzz import rules
from fizzbuzz.models import Submission
from tests.log import create_submissions
from tests.service import TIMEOUT_SECONDS, Service, eventually, manage, processes, serving

LOG = "/admin/fizzbuzz/submission/"
DOWNLOAD = f"{LOG}download/"
HEADER = ["id", "number", "result", "kind", "created_at"]

in_database = pytest.mark.django_db(transaction=True)  # a download has its own connection


def table(response: Any) -> list[list[str]]:
    return list(csv.reader(io.StringIO(response.getvalue().decode())))


@in_database
def test_download_is_the_log_oldest_first_in_one_query(staff_client: Client, django_assert_num_queries: Any) -> None:
    create_submissions(15, 7, -3)

    with django_assert_num_queries(4):  # the session, the user, and two for the permission; it has its own connection
        response = staff_client.get(DOWNLOAD)

    assert response["Content-Type"] == "text/csv"
    assert response["Content-Disposition"] == 'attachment; filename="submissions.csv"'
    log = Submission.objects.order_by("id")
    rows = [[str(row.id), str(row.number), row.result, row.kind.value, row.created_at_text] for row in log]
    assert table(response) == [HEADER, *rows]


@in_database
@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, ["3", "5", "15", "3", "-3"]),
        ({"q": "3"}, ["3", "3"]),
        ({"kind": "Fizz"}, ["3", "3", "-3"]),
        ({"kind": "Fizz", "q": "+03"}, ["3", "3"]),
        ({"kind": "Number"}, []),
        ({"created_at__gte": "2999-01-01 00:00:00+00:00"}, []),
        ({"kind": "Fizz", "o": "-1", "p": "7", "all": ""}, ["3", "3", "-3"]),
    ],
)
def test_download_applies_search_and_filters(staff_client: Client, query: dict[str, str], numbers: list[str]) -> None:
    create_submissions(3, 5, 15, 3, -3)

    rows = table(staff_client.get(DOWNLOAD, query))

    assert rows[0] == HEADER
    assert [row[1] for row in rows[1:]] == numbers


@in_database
def test_list_links_to_the_download_with_its_filters(staff_client: Client) -> None:
    page = staff_client.get(LOG, {"kind": "Fizz", "q": "3"})

    assert f'<a href="{DOWNLOAD}?kind=Fizz&amp;q=3">Download CSV</a>' in page.text


@in_database
@pytest.mark.parametrize(
    ("query", "messages"), [({"q": "=1+1"}, [rules.EXPECTED]), ({"kind": "x"}, []), ({"x": "1"}, [])]
)
def test_invalid_filters_of_a_download_redirect_to_the_list(
    staff_client: Client, query: dict[str, str], messages: list[str]
) -> None:
    response = staff_client.get(DOWNLOAD, query, follow=True)

    assert response.redirect_chain == [("../", 302)]
    assert response.request["PATH_INFO"] == LOG
    assert [str(message) for message in response.context["messages"]] == messages


@in_database
def test_concurrent_downloads_are_limited(staff_client: Client) -> None:
    create_submissions(3, 5, 15)
    running = [staff_client.get(DOWNLOAD) for _ in range(2)]

    rejected = staff_client.get(DOWNLOAD)
    for each in running:
        each.close()

    assert (rejected.status_code, rejected["Retry-After"]) == (429, "5")
    assertInHTML("<p>Too many downloads are running at the moment. Try again in 5 s.</p>", rejected.text)
    assert len(table(staff_client.get(DOWNLOAD))) == 4


@in_database
def test_download_requires_the_view_permission(client: Client) -> None:
    assertRedirects(client.get(DOWNLOAD), f"/admin/login/?next={DOWNLOAD}")
    client.force_login(User.objects.create_user("visitor"))
    assertRedirects(client.get(DOWNLOAD), f"/admin/login/?next={DOWNLOAD}")

    client.force_login(User.objects.create_user("other", is_staff=True))

    assert client.get(DOWNLOAD).status_code == 403


ROWS = 600_000


@pytest.fixture(scope="module")
def service(shared_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One worker, and a log of 600,000 rows: about 30 MB as CSV."""
    numbers = tmp_path_factory.mktemp("numbers") / "numbers.txt"
    numbers.write_text("".join(f"{number}\n" for number in range(ROWS)))
    environment = {"DATA_DIR": str(shared_data_dir)}
    with serving(**environment, WEB_CONCURRENCY="1") as service:
        for command in (["import_numbers", str(numbers)], ["createsuperuser", "--noinput"]):
            credentials = {"DJANGO_SUPERUSER_PASSWORD": "x", "DJANGO_SUPERUSER_USERNAME": "root"}
            process = manage(*command, **environment, **credentials, DJANGO_SUPERUSER_EMAIL="root@localhost")
            _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
            assert (process.returncode, errors) == (0, "")
        yield service


@pytest.fixture(scope="module")
def browser(service: Service) -> urllib.request.OpenerDirector:
    """A client that is signed in."""
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    browser.open(f"{service.address}/admin/login/", timeout=TIMEOUT_SECONDS).close()
    (token,) = [cookie.value or "" for cookie in jar if cookie.name == "csrftoken"]
    form = {"csrfmiddlewaretoken": token, "username": "root", "password": "x", "next": "/info"}
    with browser.open(f"{service.address}/admin/login/", urlencode(form).encode(), timeout=TIMEOUT_SECONDS) as response:
        assert response.url == f"{service.address}/info"
    return browser


def download(browser: urllib.request.OpenerDirector, service: Service) -> HTTPResponse:
    return browser.open(service.address + DOWNLOAD, timeout=TIMEOUT_SECONDS)


def length(response: HTTPResponse) -> int:
    """Read the response without keeping it, and return its number of lines."""
    with response:
        return sum(block.count(b"\n") for block in iter(lambda: response.read(1 << 16), b""))


def peak(data_dir: Path) -> int:
    """Return the highest peak memory, in KiB, of the service's Python processes."""
    found = []
    for pid in processes(data_dir):
        text = (Path("/proc") / str(pid) / "status").read_text()
        if text.startswith("Name:\tpython"):
            found += [int(kib) for kib in re.findall(r"VmHWM:\s+(\d+) kB", text)]
    return max(found)


def test_download_of_a_long_log_is_complete_with_bounded_memory(
    service: Service, browser: urllib.request.OpenerDirector, shared_data_dir: Path
) -> None:
    service.request("/api/most_common")
    before = peak(shared_data_dir)

    assert length(download(browser, service)) == ROWS + 1
    assert peak(shared_data_dir) - before < 10_000


def test_other_requests_are_served_during_a_download(service: Service, browser: urllib.request.OpenerDirector) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(length, download(browser, service))
        answered = 0
        while not running.done():
            assert service.request("/api/numbers/15").status == 200
            answered += 1

    assert running.result() == ROWS + 1
    assert answered > 3


def test_aborted_downloads_release_their_resources(service: Service, browser: urllib.request.OpenerDirector) -> None:
    def is_let_in_and_leaves() -> bool:
        try:
            with download(browser, service) as response:
                response.read(1000)
        except HTTPError as error:
            assert error.code == 429  # noqa: PT017 - the service has not noticed yet that the last ones are left
            return False
        return True

    for _ in range(20):  # more than may run at once, and more than the worker has connections
        assert eventually(is_let_in_and_leaves)

    assert service.request("/api/numbers/15").status == 200
