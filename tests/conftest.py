import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client, TransactionTestCase

from fizzbuzz.counts import fold_scheduler, ranking
from fizzbuzz.db import faults
from fizzbuzz.submissions import record
from fizzbuzz_site.embedded.server import DATABASE, SUPERUSER, USER, Server
from tests import template
from tests.fresh import a_second_later
from tests.gated import GatedClient
from tests.service import url_of

# A shell's background job ignores SIGINT, and so would the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def empty_tables(self: TransactionTestCase) -> None:
    """Delete what a test committed. Django's flush takes 20 times as long: it truncates all tables.

    A table of several pages is truncated here, too, so that its dead rows don't slow down or mislead the next tests.
    """
    models = set(apps.get_models(include_auto_created=True)) - {ContentType, Permission}  # filled by migrations
    tables = [model._meta.db_table for model in models]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND pg_relation_size(oid) > 8192", [tables]
        )
        for (large,) in cursor.fetchall():
            cursor.execute(f"TRUNCATE {large} CASCADE")
        cursor.execute(";".join(f"DELETE FROM {table}" for table in tables))


TransactionTestCase._fixture_teardown = empty_tables  # type: ignore[attr-defined]
TransactionTestCase._should_reload_connections = lambda self: False  # type: ignore[attr-defined]

# For speed: the database of in-process tests need not survive a crash.
NO_DURABILITY = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
# Tests with one of these fixtures start real processes.
DATA_DIR_FIXTURES = {"data_dir", "shared_data_dir"}


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the template while xdist's workers collect the tests."""
    if config.getoption("numprocesses") and settings.EMBEDDED:
        Thread(target=template.prepare).start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests that start real processes as slow, except for the smoke tests."""
    for item in items:
        starts_processes = not DATA_DIR_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        if starts_processes and item.get_closest_marker("smoke") is None:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Start a server from the template, and create the test database as a copy of the template's migrated one."""
    if settings.EMBEDDED:
        template.copy_to(settings.DATA_DIR)
        with (settings.DATA_DIR / "postgres/data/postgresql.conf").open("a") as configuration:
            configuration.write(NO_DURABILITY)
        settings.DATABASES["default"]["TEST"]["TEMPLATE"] = DATABASE
        with psycopg.connect(host=settings.EMBEDDED.acquire(), user=SUPERUSER, dbname="postgres") as database:
            database.execute(f"ALTER ROLE {USER} CREATEDB")  # the service's role can't create databases


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a process keeps between requests, and disable folds in the background: tests control them."""
    monkeypatch.setattr(fold_scheduler, "scheduler", fold_scheduler.FoldScheduler())
    monkeypatch.setattr(fold_scheduler.FoldScheduler, "start", lambda self: None)
    monkeypatch.setattr(ranking, "known_tail_rows", 0)
    a_second_later()
    faults.failing.clear()
    yield
    record.inserter.close()  # its private connection would block dropping the test database


@pytest.fixture
def client() -> Client:
    return GatedClient()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data folder with a migrated database, for one test."""
    with template.data_dir() as folder:
        yield folder


@pytest.fixture
def database_url(data_dir: Path) -> Iterator[str]:
    """The URL of a server that processes use as an external one; its database is migrated."""
    server = Server(data_dir)
    yield url_of(server.acquire())
    server.release()


@pytest.fixture(scope="module")
def shared_data_dir() -> Iterator[Path]:
    """A data folder with a migrated database, for all tests of a module."""
    with template.data_dir() as folder:
        yield folder


@pytest.fixture
def staff_client(client: Client) -> Client:
    """Return a client logged in as staff with only the permission to view submissions."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_submission"))
    client.force_login(user)
    return client
