"""Statements that only read, on the pool's connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import DataError, connection

from fizzbuzz.db import reader
from fizzbuzz.db.deadline import DeadlineConnection
from tests.marks import commits

pytestmark = commits

BACKEND = "SELECT pg_backend_pid(), current_setting('statement_timeout')"


@pytest.fixture(autouse=True)
def pool() -> Iterator[None]:
    """One connection, pooled as in a web worker."""
    wrapper: Any = connection  # fizzbuzz.db's, which has a pool
    wrapper.close()
    options = wrapper.settings_dict["OPTIONS"]
    options["pool"] = {"min_size": 1, "max_size": 1, "timeout": 5, "connection_class": DeadlineConnection}
    yield
    wrapper.close()
    wrapper.close_pool()
    del options["pool"]


def test_statement_is_prepared_and_bounded() -> None:
    first = reader.rows(BACKEND, {})
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = %(statement)s"

    assert reader.rows(BACKEND, {}) == first
    assert first[0][1] == "9s"
    assert reader.rows(prepared, {"statement": BACKEND}) == [(1,)]


def test_connection_that_the_server_closed_is_replaced() -> None:
    ((backend, _),) = reader.rows(BACKEND, {})
    with closing(connection.copy()) as other:
        other.settings_dict = {**other.settings_dict, "OPTIONS": {}}
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [backend])
            assert cursor.fetchone() == (True,)

    assert reader.rows("SELECT pg_backend_pid() <> %(old)s", {"old": backend}) == [(True,)]


def test_error_is_djangos_and_gives_the_connection_back() -> None:
    with pytest.raises(DataError):
        reader.rows("SELECT 1 / %(zero)s", {"zero": 0})

    assert reader.rows("SELECT %(one)s + 1", {"one": 1}) == [(2,)]


def test_request_that_holds_a_connection_does_not_wait_for_a_second() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        held = cursor.fetchone()

    assert [row[:1] for row in reader.rows(BACKEND, {})] == [held]
