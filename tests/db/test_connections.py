"""A deadline ends the wait of the client, the connection tells whether the server still works, and pools replace it."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from django.db import DataError, connection
from django.test import RequestFactory
from prometheus_client import REGISTRY

from fizzbuzz.db import pool
from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from fizzbuzz_site.wsgi import application
from tests.marks import commits
from tests.service import eventually

pytestmark = commits

LOCK = 15
WAIT = f"SELECT pg_advisory_lock({LOCK})"
BACKEND = "SELECT pg_backend_pid(), current_setting('statement_timeout')"
# As in a gunicorn worker: gevent patches before psycopg is imported.
IN_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, psycopg, django
django.setup()
from fizzbuzz.db.deadline import DeadlineConnection
database = None
try:
    database = DeadlineConnection.connect(**psycopg.conninfo.conninfo_to_dict(sys.argv[1]), autocommit=True)
    database.deadline_seconds = 0.3
    database.execute(sys.argv[2])
except psycopg.OperationalError as error:
    print(error, database and (database.closed, database.is_waiting))
"""


def in_gevent(conninfo: str, **environment: str) -> str:
    command = [sys.executable, "-c", IN_GEVENT, conninfo, WAIT]
    return subprocess.check_output(command, env=os.environ | environment, text=True)


@pytest.fixture
def locked() -> Iterator[None]:
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute(WAIT)
        yield


def backends_that_wait() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        (count,) = cursor.fetchone()
    return int(count)


@pytest.fixture
def conninfo() -> str:
    wanted = ("host", "port", "user", "password", "dbname")
    params = connection.get_connection_params()
    return psycopg.conninfo.make_conninfo(**{name: params[name] for name in wanted if name in params})


@pytest.fixture
def database(conninfo: str) -> Iterator[DeadlineConnection]:
    """Connect without a statement timeout, which does not end the wait for a standby either."""
    with closing(DeadlineConnection.connect(conninfo, autocommit=True)) as database:
        database.deadline_seconds = 0.3
        yield database


@pytest.mark.usefixtures("locked")
def test_statement_beyond_the_deadline_is_neither_canceled_nor_forgotten(database: DeadlineConnection) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no response within 0\.3 s"):
        database.execute(WAIT)

    assert (database.closed, database.is_waiting, backends_that_wait()) == (False, True, 1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    assert eventually(lambda: not database.is_waiting)
    assert database.execute("SELECT 1").fetchone() == (1,)

    with pytest.raises(psycopg.OperationalError):
        database.execute(WAIT)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [database.info.backend_pid])

    assert eventually(lambda: not database.is_waiting)
    assert database.is_lost()


@pytest.mark.usefixtures("locked")
def test_deadline_in_gevent(conninfo: str) -> None:
    assert in_gevent(conninfo) == "no response within 0.3 s (False, True)\n"


@pytest.mark.slow
def test_resolver_that_does_not_answer_is_given_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        try:
            resolver.bind(("127.0.0.53", 53))
        except OSError as error:
            pytest.skip(f"needs port 53 for a resolver: {error.strerror}")
        answer = in_gevent("host=database.test", GEVENT_RESOLVER="ares", GEVENT_RESOLVER_NAMESERVERS="127.0.0.53")

    assert answer == "the resolver did not answer in time None\n"


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("autocommit", [True, False])
def test_statement_timeout_precedes_the_deadline(*, autocommit: bool) -> None:
    with connect_with_deadline(2, autocommit=autocommit) as database:
        with pytest.raises(psycopg.errors.QueryCanceled):
            database.execute(WAIT)

        assert not database.closed
        database.rollback()
        assert database.execute("SHOW statement_timeout").fetchone() == ("1800ms",)


@pytest.fixture
def web_worker(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pools of one connection for reads, and two for all else."""
    connection.close()
    settings.IN_WEB_WORKER = True
    pools = {"READS": pool.Pool(1, round_trip=False), "WRITES": pool.Pool(2, round_trip=True)}
    for name, replaced in pools.items():
        monkeypatch.setattr(pool, name, replaced)
    yield
    connection.close()
    for each in pools.values():
        each.close()


@pytest.mark.usefixtures("web_worker")
def test_statement_is_prepared_and_bounded() -> None:
    first = pool.read(BACKEND, {})
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = %(statement)s"

    assert pool.read(BACKEND, {}) == first
    assert first[0][1] == "9s"
    assert pool.read(prepared, {"statement": BACKEND}) == [(1,)]


@pytest.mark.usefixtures("web_worker")
def test_connection_that_the_server_closed_is_replaced() -> None:
    ((backend, _),) = pool.read(BACKEND, {})
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [backend])
        assert cursor.fetchone() == (True,)

    assert pool.read("SELECT pg_backend_pid() <> %(old)s", {"old": backend}) == [(True,)]


@pytest.mark.usefixtures("web_worker")
def test_error_is_djangos_and_gives_the_connection_back() -> None:
    with pytest.raises(DataError):
        pool.read("SELECT 1 / %(zero)s", {"zero": 0})

    assert pool.read("SELECT %(one)s + 1", {"one": 1}) == [(2,)]


@pytest.mark.usefixtures("web_worker")
def test_interrupted_check_gives_the_connection_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(conn: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pool.READS, "_verify", interrupt)
        for _ in range(pool.READS.max_size):
            with pytest.raises(KeyboardInterrupt):
                pool.read("SELECT 1", {})

    assert pool.read("SELECT 1", {}) == [(1,)]


@pytest.mark.usefixtures("web_worker")
def test_statements_are_counted_under_the_names_of_django_prometheus() -> None:
    of_server = {"alias": "default", "vendor": "postgresql"}
    errors = of_server | {"type": "DivisionByZero"}
    names = {"execute_total": of_server, "query_duration_seconds_count": of_server, "errors_total": errors}

    def counted() -> list[float]:
        return [REGISTRY.get_sample_value(f"django_db_{name}", labels) or 0 for name, labels in names.items()]

    pool.read("SELECT 1", {})  # connects
    before = counted()
    pool.read("SELECT 1", {})
    with pytest.raises(DataError):
        pool.read("SELECT 1 / 0", {})

    assert [after - earlier for earlier, after in zip(before, counted(), strict=True)] == [2, 2, 1]


@pytest.mark.usefixtures("web_worker")
@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/stats/submissions.csv"])
def test_connection_is_released_before_the_body_is_sent(path: str) -> None:
    """A slow client must not hold it."""
    connection.ensure_connection()

    response = application(RequestFactory().get(path).environ, lambda *start: bytes)

    assert connection.connection is None
    assert b"".join(response)
