from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import SHORT_DEADLINES, Service, serving


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    """A service with one worker and short deadlines, for all tests of a module."""
    with serving(DATA_DIR=str(shared_data_dir), WEB_CONCURRENCY="1", **SHORT_DEADLINES) as service:
        yield service
