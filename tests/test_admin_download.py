"""Downloads of a long log from a real service: complete, with bounded memory, beside other requests."""

import re
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from tests.service import TIMEOUT_SECONDS, Service, eventually, manage, processes, serving

ROWS = 400_000  # about 20 MB as CSV
USER = {"USERNAME": "root", "PASSWORD": "x", "EMAIL": "root@localhost"}


@pytest.fixture(scope="module")
def service(shared_data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One worker, and a long log."""
    numbers = tmp_path_factory.mktemp("numbers") / "numbers.txt"
    numbers.write_text("".join(f"{number}\n" for number in range(ROWS)))
    environment = {"DATA_DIR": str(shared_data_dir)}
    with serving(**environment, WEB_CONCURRENCY="1") as service:
        environment |= {f"DJANGO_SUPERUSER_{name}": value for name, value in USER.items()}
        for command in (["import_numbers", str(numbers)], ["createsuperuser", "--noinput"]):
            assert manage(*command, **environment).communicate(timeout=TIMEOUT_SECONDS)[1] == ""
        yield service


@pytest.fixture(scope="module")
def download(service: Service) -> Callable[[], HTTPResponse]:
    """A client that is signed in, and starts a download."""
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    login = f"{service.address}/admin/login/"
    browser.open(login, timeout=TIMEOUT_SECONDS).close()
    (token,) = [cookie.value or "" for cookie in jar if cookie.name == "csrftoken"]
    form = {"csrfmiddlewaretoken": token, "username": "root", "password": "x", "next": "/info"}
    with browser.open(login, urlencode(form).encode(), timeout=TIMEOUT_SECONDS) as response:
        assert response.url == f"{service.address}/info"
    url = f"{service.address}/admin/fizzbuzz/submission/download/"
    return lambda: browser.open(url, timeout=TIMEOUT_SECONDS)


def length(response: HTTPResponse) -> int:
    """Read the response without keeping it, and return its number of lines."""
    with response:
        return sum(block.count(b"\n") for block in iter(lambda: response.read(1 << 16), b""))


def peak(data_dir: Path) -> int:
    """Return the highest peak memory, in KiB, of the service's Python processes."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in processes(data_dir)]
    return max(int(re.findall(r"VmHWM:\s+(\d+) kB", text)[0]) for text in statuses if text.startswith("Name:\tpython"))


def test_download_of_a_long_log_is_complete_with_bounded_memory_beside_other_requests(
    service: Service, download: Callable[[], HTTPResponse], shared_data_dir: Path
) -> None:
    service.request("/api/most_common")
    before = peak(shared_data_dir)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(length, download())
        answered = 0
        while not running.done():
            assert service.request("/api/numbers/15").status == 200
            answered += 1

    assert running.result() == ROWS + 1
    assert answered > 3
    assert peak(shared_data_dir) - before < 10_000


def test_aborted_downloads_release_their_resources(service: Service, download: Callable[[], HTTPResponse]) -> None:
    def is_let_in_and_leaves() -> bool:
        try:
            with download() as response:
                response.read(1000)
        except HTTPError as error:
            assert error.code == 429  # noqa: PT017 - the service has not noticed yet that the last ones are left
            return False
        return True

    for _ in range(20):  # more than may run at once, and more than the worker has connections
        assert eventually(is_let_in_and_leaves)

    assert service.request("/api/numbers/15").status == 200
