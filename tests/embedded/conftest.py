from collections.abc import Iterator
from pathlib import Path

import pytest

from fizzbuzz_site.embedded.server import Server


@pytest.fixture
def server(data_dir: Path) -> Iterator[Server]:
    server = Server(data_dir)
    yield server
    server.release()
