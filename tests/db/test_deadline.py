"""A deadline ends the wait of the client; the connection tells whether the server still works on the statement."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from django.db import connection

from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from tests.marks import commits
from tests.service import eventually

pytestmark = commits

LOCK = 15
WAIT = f"SELECT pg_advisory_lock({LOCK})"
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


@pytest.fixture(autouse=True)
def _locked() -> Iterator[None]:
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


def test_deadline_in_gevent(conninfo: str) -> None:
    assert in_gevent(conninfo) == "no response within 0.3 s (False, True)\n"


def test_resolver_that_does_not_answer_is_given_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        try:
            resolver.bind(("127.0.0.53", 53))
        except OSError as error:
            pytest.skip(f"needs port 53 for a resolver: {error.strerror}")
        answer = in_gevent("host=database.test", GEVENT_RESOLVER="ares", GEVENT_RESOLVER_NAMESERVERS="127.0.0.53")

    assert answer == "the resolver did not answer in time None\n"


@pytest.mark.parametrize("autocommit", [True, False])
def test_statement_timeout_precedes_the_deadline(*, autocommit: bool) -> None:
    with connect_with_deadline(2, autocommit=autocommit) as database:
        with pytest.raises(psycopg.errors.QueryCanceled):
            database.execute(WAIT)

        assert not database.closed
        database.rollback()
        assert database.execute("SHOW statement_timeout").fetchone() == ("1800ms",)
