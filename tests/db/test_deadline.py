from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from tests.marks import commits
from tests.service import eventually

pytestmark = commits

SLEEP = "SELECT pg_sleep(60)"
# As in a gunicorn worker: gevent patches before psycopg is imported.
IN_GEVENT = """
from gevent import monkey
monkey.patch_all()
import sys, psycopg, gevent
from fizzbuzz.db.deadline import DeadlineConnection
database = DeadlineConnection.connect(sys.argv[1], autocommit=True)
database.deadline_seconds = 0.3
try:
    database.execute("SELECT pg_sleep(60)")
except psycopg.OperationalError as error:
    print(error, database.closed)
gevent.sleep(2)
"""


def sleeping() -> int:
    """Return how many backends still run the statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s", [SLEEP])
        (count,) = cursor.fetchone()
    return int(count)


@pytest.fixture
def conninfo() -> str:
    wanted = ("host", "port", "user", "password", "dbname")
    params = connection.get_connection_params()
    return psycopg.conninfo.make_conninfo(**{name: params[name] for name in wanted if name in params})


@pytest.fixture
def database(conninfo: str) -> Iterator[DeadlineConnection]:
    """Connect without a statement timeout, as behind a pooler that dropped it."""
    with DeadlineConnection.connect(conninfo, autocommit=True) as database:
        database.deadline_seconds = 0.3
        yield database


def test_deadline_cancels_the_statement_on_the_server(database: DeadlineConnection) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no response within 0\.3 s"):
        database.execute(SLEEP)

    assert database.closed
    assert eventually(lambda: sleeping() == 0)


def test_deadline_cancels_the_statement_in_gevent_too(conninfo: str) -> None:
    run = subprocess.run([sys.executable, "-c", IN_GEVENT, conninfo], capture_output=True, text=True, check=True)

    assert run.stdout == "no response within 0.3 s True\n"
    assert sleeping() == 0


@pytest.mark.parametrize("autocommit", [True, False])
def test_statement_timeout_precedes_the_deadline(*, autocommit: bool) -> None:
    with connect_with_deadline(0.5, autocommit=autocommit) as database:
        with pytest.raises(psycopg.errors.QueryCanceled):
            database.execute(SLEEP)

        assert not database.closed
        database.rollback()
        # Behind a transaction pooler, the next client would inherit a session's setting.
        assert database.execute("SHOW statement_timeout").fetchone() == ("450ms" if autocommit else "0",)
