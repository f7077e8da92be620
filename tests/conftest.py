from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client

from fizzbuzz import recording


@pytest.fixture(autouse=True)
def _writer_closed() -> Iterator[None]:
    """Closes the connection beside Django's, which would keep the tests' database from being dropped."""
    yield
    recording.writer.close()


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    cache.clear()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty data folder."""
    with _data_dir() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared_data_dir() -> Iterator[Path]:
    """A data folder for all tests of a module."""
    with _data_dir() as folder:
        yield folder


@pytest.fixture
def staff_client(client: Client) -> Client:
    """Signed in as staff who may view submissions, and nothing else."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_submission"))
    client.force_login(user)
    return client


@contextmanager
def _data_dir() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="fizzbuzz test "))
    base.chmod(0o711)  # started by root, PostgreSQL runs as another user
    (base / "var").mkdir()
    yield base / "var"
    shutil.rmtree(base)
