"""Downloads of a long log from a real service: complete, with bounded memory, beside other requests."""

import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from tests.service import TIMEOUT_SECONDS, Service, eventually, manage, processes, serving

DOWNLOAD = "/admin/fizzbuzz/submission/download/"
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
