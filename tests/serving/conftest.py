from collections.abc import Iterator
from pathlib import Path

import pytest

from fizzbuzz_site.embedded.server import Server
from tests.service import SHORT_DEADLINES, Service, serving, url_of


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    """A service with one worker and short deadlines, for all tests of a module."""
    with serving(DATA_DIR=str(shared_data_dir), WEB_CONCURRENCY="1", **SHORT_DEADLINES) as service:
        yield service


@pytest.fixture
def database_url(data_dir: Path) -> Iterator[str]:
    """Start a server that services use as an external one; its database is migrated."""
    server = Server(data_dir)
    yield url_of(server.acquire())
    server.release()
