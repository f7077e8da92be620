from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.core.wsgi import get_wsgi_application
from django.test import Client
from django.urls import get_resolver

from embedded.server import DATABASE, SUPERUSER, USER
from fizzbuzz.counts import fold_scheduler, ranking
from fizzbuzz.submissions import record
from tests import template
from tests.fresh import a_second_later

# The marker `commits` takes the admin's apps away, which some middleware and URLs import on the first request.
get_wsgi_application()
get_resolver().url_patterns  # noqa: B018 - read for the imports

# The in-process tests' own server loses nothing that matters when the machine crashes.
NO_DURABILITY = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
# Each of these fixtures starts from a data folder, and so its tests start real processes.
DATA_DIR_FIXTURES = {"data_dir", "empty_data_dir", "shared_data_dir"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow all tests that start real processes, but for the smoke tests."""
    for item in items:
        starts_processes = not DATA_DIR_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        if starts_processes and item.get_closest_marker("smoke") is None:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Start the tests' own server from the template, and copy its migrated database instead of migrating a new one."""
    if settings.EMBEDDED:
        template.copy_to(settings.DATA_DIR)
        with (settings.DATA_DIR / "postgres/data/postgresql.conf").open("a") as configuration:
            configuration.write(NO_DURABILITY)
        settings.DATABASES["default"]["TEST"]["TEMPLATE"] = DATABASE
        with psycopg.connect(host=settings.EMBEDDED.acquire(), user=SUPERUSER, dbname="postgres") as database:
            database.execute(f"ALTER ROLE {USER} CREATEDB")  # the service's role may make none


@pytest.fixture(autouse=True)
def _writer_closed() -> Iterator[None]:
    """Close the connection beside Django's, which would keep the tests' database from being dropped."""
    yield
    record.inserter.close()


@pytest.fixture(autouse=True)
def _folds_on_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread folds in the background: a test takes its steps by itself."""
    monkeypatch.setattr(fold_scheduler, "scheduler", fold_scheduler.FoldScheduler())
    monkeypatch.setattr(fold_scheduler.FoldScheduler, "start", lambda self: None)
    monkeypatch.setattr(ranking, "known_tail_rows", 0)


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    a_second_later()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder with a migrated database, for one test."""
    with template.data_dir() as folder:
        yield folder


@pytest.fixture(scope="module")
def shared_data_dir() -> Iterator[Path]:
    """A data folder with a migrated database, for all tests of a module."""
    with template.data_dir() as folder:
        yield folder


@pytest.fixture
def empty_data_dir() -> Iterator[Path]:
    """An empty data folder, for tests of what happens at the first start."""
    with template.data_dir(empty=True) as folder:
        yield folder


@pytest.fixture
def staff_client(client: Client) -> Client:
    """Signed in as staff who may view submissions, and nothing else."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_submission"))
    client.force_login(user)
    return client
