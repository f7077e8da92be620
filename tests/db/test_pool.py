"""Statements on the pools' connections, as in a web worker."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DataError, connection
from django.test import RequestFactory
from prometheus_client import REGISTRY

from fizzbuzz.db import pool
from fizzbuzz_site.wsgi import application
from tests.marks import commits

pytestmark = commits

BACKEND = "SELECT pg_backend_pid(), current_setting('statement_timeout')"


@pytest.fixture(autouse=True)
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


def test_statement_is_prepared_and_bounded() -> None:
    first = pool.read(BACKEND, {})
    prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = %(statement)s"

    assert pool.read(BACKEND, {}) == first
    assert first[0][1] == "9s"
    assert pool.read(prepared, {"statement": BACKEND}) == [(1,)]


def test_connection_that_the_server_closed_is_replaced() -> None:
    ((backend, _),) = pool.read(BACKEND, {})
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [backend])
        assert cursor.fetchone() == (True,)

    assert pool.read("SELECT pg_backend_pid() <> %(old)s", {"old": backend}) == [(True,)]


def test_error_is_djangos_and_gives_the_connection_back() -> None:
    with pytest.raises(DataError):
        pool.read("SELECT 1 / %(zero)s", {"zero": 0})

    assert pool.read("SELECT %(one)s + 1", {"one": 1}) == [(2,)]


def test_statements_are_counted_under_the_names_of_django_prometheus() -> None:
    of_server = {"alias": "default", "vendor": "postgresql"}
    errors = of_server | {"type": "DivisionByZero"}
    names = {"execute_total": of_server, "query_duration_seconds_count": of_server, "errors_total": errors}

    def counted() -> list[float]:
        return [REGISTRY.get_sample_value(f"django_db_{name}", labels) or 0 for name, labels in names.items()]

    before = counted()
    pool.read("SELECT 1", {})
    with pytest.raises(DataError):
        pool.read("SELECT 1 / 0", {})

    assert [after - earlier for earlier, after in zip(before, counted(), strict=True)] == [2, 2, 1]


@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/stats/submissions.csv"])
def test_connection_is_released_before_the_body_is_sent(path: str) -> None:
    """A slow client must not hold it."""
    connection.ensure_connection()

    response = application(RequestFactory().get(path).environ, lambda *start: bytes)

    assert connection.connection is None
    assert b"".join(response)
