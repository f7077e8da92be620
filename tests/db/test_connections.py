"""Connections: their deadlines and settings, whether the server still works, and the pools that replace them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import DataError, OperationalError, connection
from django.test import Client, RequestFactory
from prometheus_client import REGISTRY

from fizzbuzz.db import pool
from fizzbuzz.db.base import SESSION
from fizzbuzz.db.deadline import FIRST_WITH_TRANSACTION_TIMEOUT, connect_with_deadline
from fizzbuzz.models import Submission
from fizzbuzz.submissions import record
from fizzbuzz_site.wsgi import application
from tests.marks import commits
from tests.service import eventually

pytestmark = commits

WAIT = "SELECT pg_advisory_lock(15)"
OF_WAITING = "(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
BACKEND = "SELECT pg_backend_pid(), current_setting('statement_timeout')"
PREPARED = "SELECT count(*) FROM pg_prepared_statements WHERE statement = %(statement)s"
PATHS = ["/", "/live", "/stats", "/stats/submissions.csv", "/numbers/15", "/info", "/health", "/metrics"]
PATHS += ["/api/fizzbuzz?kind=Fizz", "/api/most_common?since=2026-01-01"]
PROVIDERS_SETTINGS = {
    "DateStyle": "SQL, DMY",
    "TimeZone": "Asia/Kolkata",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "client_min_messages": "error",
    "IntervalStyle": "iso_8601",
    "jit": "on",
    "max_parallel_workers_per_gather": "4",
}
# As in a gunicorn worker: gevent patches before psycopg is imported.
CONNECT_IN_GEVENT = """
from gevent import monkey
monkey.patch_all()
import psycopg, django
django.setup()
from fizzbuzz.db.deadline import DeadlineConnection
try:
    DeadlineConnection.connect(host="database.test")
except psycopg.OperationalError as error:
    print(error)
"""


def test_statement_beyond_the_deadline_is_neither_canceled_nor_forgotten() -> None:
    with (
        closing(connection.copy()) as other,
        other.cursor() as cursor,
        closing(connect_with_deadline(0.3, autocommit=True)) as database,
    ):
        cursor.execute(WAIT)
        database.execute("SET statement_timeout = 0")  # it does not end the wait for a standby either

        for end in ("pg_cancel_backend", "pg_terminate_backend"):
            with pytest.raises(psycopg.OperationalError, match=r"no response within 0\.3 s"):
                database.execute(WAIT)
            assert (database.closed, database.is_waiting) == (False, True)
            cursor.execute(f"SELECT {end}{OF_WAITING}")
            assert cursor.fetchall() == [(True,)]
            assert eventually(lambda: not database.is_waiting)
            assert database.is_lost() == (end == "pg_terminate_backend")


@pytest.mark.slow
def test_resolver_that_does_not_answer_is_given_up() -> None:
    ares = {"GEVENT_RESOLVER": "ares", "GEVENT_RESOLVER_NAMESERVERS": "127.0.0.53"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        try:
            resolver.bind(("127.0.0.53", 53))
        except OSError as error:
            pytest.skip(f"needs port 53 for a resolver: {error.strerror}")
        answer = subprocess.check_output([sys.executable, "-c", CONNECT_IN_GEVENT], env=os.environ | ares, text=True)

    assert answer == "the resolver did not answer in time\n"


@pytest.fixture
def _web_worker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pools of one connection for reads, and two for all else."""
    connection.close()
    settings.IN_WEB_WORKER = True
    settings.DATABASE_POOL_TIMEOUT_SECONDS = 0.4
    pools = {"READS": pool.Pool(1, round_trip=False), "WRITES": pool.Pool(2, round_trip=True)}
    for name, replaced in pools.items():
        monkeypatch.setattr(pool, name, replaced)
    yield
    connection.close()
    for each in pools.values():
        each.close()


@pytest.mark.usefixtures("_web_worker")
def test_reads_are_prepared_bounded_and_counted_and_give_the_connection_back() -> None:
    server = {"alias": "default", "vendor": "postgresql"}
    # The names of django-prometheus.
    metrics = {
        "execute_total": server,
        "query_duration_seconds_count": server,
        "errors_total": server | {"type": "DivisionByZero"},
    }

    def counted() -> list[float]:
        return [REGISTRY.get_sample_value(f"django_db_{name}", labels) or 0 for name, labels in metrics.items()]

    ((backend, timeout),) = pool.read(BACKEND, {})
    before = counted()
    with pytest.raises(DataError):
        pool.read("SELECT 1 / %(zero)s", {"zero": 0})

    assert timeout == "9s"
    assert pool.read(BACKEND, {}) == [(backend, timeout)]
    assert pool.read(PREPARED, {"statement": BACKEND}) == [(1,)]
    assert [after - earlier for earlier, after in zip(before, counted(), strict=True)] == [3, 3, 1]


@pytest.mark.usefixtures("_web_worker")
def test_connection_that_the_server_closed_is_replaced() -> None:
    ((reader, _),) = pool.read(BACKEND, {})
    before = record.record_one(15, "api")
    inserter = record.inserter._connect().info.backend_pid
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid, 10000) FROM unnest(%s) AS pid", [[reader, inserter]])
        assert cursor.fetchall() == [(True,)] * 2
    after = record.record_one(15, "api")

    assert pool.read("SELECT pg_backend_pid() <> %(old)s", {"old": reader}) == [(True,)]
    assert list(Submission.objects.order_by("id")) == [before, after]


@pytest.mark.usefixtures("_web_worker")
def test_outage_is_explained_and_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's pauses between attempts to connect would grow during it."""
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")
        for _ in range(3):
            with pytest.raises(OperationalError, match=r"^connection "):
                pool.read("SELECT 1", {})

    assert pool.read("SELECT 1", {}) == [(1,)]


@pytest.mark.usefixtures("_web_worker")
def test_interrupted_check_gives_the_connection_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(conn: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool.READS, "_verify", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.read("SELECT 1", {})

    assert pool.read("SELECT 1", {}) == [(1,)]


@pytest.mark.usefixtures("_web_worker")
@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/stats/submissions.csv"])
def test_connection_is_released_before_the_body_is_sent(path: str) -> None:
    """A slow client must not hold it."""
    connection.ensure_connection()

    response = application(RequestFactory().get(path).environ, lambda *start: bytes)

    assert connection.connection is None
    assert b"".join(response)


@pytest.fixture
def _provider() -> Iterator[None]:
    with connection.cursor() as cursor:
        for name, value in PROVIDERS_SETTINGS.items():
            cursor.execute(f"ALTER ROLE CURRENT_USER SET {name} = '{value}'")
        if connection.connection.info.server_version >= FIRST_WITH_TRANSACTION_TIMEOUT:
            cursor.execute("ALTER ROLE CURRENT_USER SET transaction_timeout = '1min'")
    connection.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER ROLE CURRENT_USER RESET ALL")
    connection.close()


@pytest.mark.usefixtures("_provider")
def test_settings_of_a_role_have_no_effect(client: Client) -> None:
    expected = {
        **SESSION,
        "DateStyle": "ISO, MDY",
        "TimeZone": "UTC",
        "default_transaction_isolation": "read committed",
    }
    assert expected.keys() >= PROVIDERS_SETTINGS.keys()
    with connection.cursor() as cursor:
        assert {name: cursor.execute(f"SHOW {name}").fetchone()[0] for name in expected} == expected
    with connect_with_deadline(1) as private:
        assert private.execute("SHOW DateStyle").fetchone() == ("ISO, MDY",)
        assert private.execute("SHOW statement_timeout").fetchone() == ("900ms",)
        transaction_timeout = "SELECT setting FROM pg_settings WHERE name = 'transaction_timeout'"
        assert private.execute(transaction_timeout).fetchone() in {None, ("0",)}

    for path, body in (("/api/fizzbuzz", {"number": 15}), ("/api/fizzbuzz/batch", {"numbers": [15, 16]})):
        for headers in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
            assert client.post(path, body, "application/json", headers=headers).status_code == 201
    assert {path: client.get(path).status_code for path in PATHS} == dict.fromkeys(PATHS, 200)
    call_command("migrate", verbosity=0)
    call_command("top_numbers", "--verify")
