from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data folder that every user may enter, for PostgreSQL started by root runs as another one."""
    base = Path(tempfile.mkdtemp(prefix="fizzbuzz test "))
    base.chmod(0o711)
    (base / "var").mkdir()
    yield base / "var"
    shutil.rmtree(base)
