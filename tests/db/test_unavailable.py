from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz.models import Submission
from fizzbuzz.submissions import record

pytestmark = pytest.mark.django_db(transaction=True)

DETAIL = "The database is unavailable. Try again in a moment."
NOT_RECORDED = f"This request recorded nothing. {DETAIL}"
OUTCOME_UNKNOWN = (
    "The database gave no confirmation. "
    "The submission may or may not have been recorded: check before you send it again."
)
LOCK = "LOCK TABLE fizzbuzz_submission IN ACCESS EXCLUSIVE MODE"


@pytest.fixture
def ended_connection() -> Iterator[None]:
    """Let PostgreSQL close the connection, as when it is stopped, without the client noticing."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        assert cursor.fetchone() == (True,)
    yield
    connection.close()


@pytest.mark.usefixtures("ended_connection")
@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/api/numbers/7"])
def test_api_returns_503(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert response["Content-Type"] == "application/problem+json"
    assert response.json() == {
        "type": "/docs/problems#unavailable",
        "title": "Service Unavailable",
        "status": 503,
        "detail": DETAIL,
        "instance": path,
        "request_id": response["X-Request-ID"],
    }


@pytest.mark.usefixtures("ended_connection")
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/numbers/7"), ("GET", "/info")])
def test_pages_return_503(client: Client, method: str, path: str) -> None:
    response = client.generic(method, path)

    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assertInHTML(f"<p>{DETAIL}</p>".replace("'", "&#x27;"), response.text)


def test_page_that_writes_returns_503_if_it_cannot(client: Client, admin_user: User) -> None:
    """The database is read-only, like a standby, and signing in inserts a session."""
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
    try:
        response = client.post("/admin/login/", {"username": "admin", "password": "password"})
    finally:
        connection.close()

    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assertInHTML(f"<p>{DETAIL}</p>".replace("'", "&#x27;"), response.text)


@contextmanager
def connection_refused() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")
        connection.close()
        record.inserter.close()
        yield
    connection.close()


def test_read_on_a_private_connection_returns_503(client: Client) -> None:
    with connection_refused():
        response = client.get("/api/most_common?since=2026-01-31")

    assert (response.status_code, response["Retry-After"], response.json()["detail"]) == (503, "5", DETAIL)


@contextmanager
def locked() -> Iterator[None]:
    """Lock the log for longer than all timeouts."""
    with closing(connection.copy()) as other, pytest.MonkeyPatch.context() as patch:
        patch.setattr(record.inserter._connect(), "deadline_seconds", 0.5)
        patch.setattr(connection.connection, "wait", partial(connection.connection.wait, timeout=0.5), raising=False)
        other.set_autocommit(False)
        other.cursor().execute(LOCK)
        yield
    connection.close()


@contextmanager
def killed_during_the_statement() -> Iterator[None]:
    def kill_waiting_backends() -> None:
        with closing(connection.copy()) as other, other.cursor() as cursor:
            while not ended.is_set():
                cursor.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted")
                if cursor.fetchone() != (0,):
                    return

    ended = threading.Event()
    with closing(connection.copy()) as other, ThreadPoolExecutor() as pool:
        other.set_autocommit(False)
        other.cursor().execute(LOCK)
        pool.submit(kill_waiting_backends)
        yield
        ended.set()
    connection.close()


SINGLE = ("/api/fizzbuzz", {"number": 15})
BATCH = ("/api/fizzbuzz/batch", {"numbers": [15, 16]})


@pytest.mark.parametrize(
    ("path", "body", "fault", "outcome"),
    [
        (*SINGLE, connection_refused, "not-recorded"),
        (*BATCH, connection_refused, "not-recorded"),
        # The statement of a single number commits by itself. For a batch, the commit was never sent.
        (*SINGLE, locked, "outcome-unknown"),
        (*BATCH, locked, "not-recorded"),
        (*SINGLE, killed_during_the_statement, "outcome-unknown"),
        (*BATCH, killed_during_the_statement, "not-recorded"),
    ],
)
def test_failed_submission_reports_its_outcome(
    client: Client, path: str, body: Any, fault: Callable[[], AbstractContextManager[None]], outcome: str
) -> None:
    connection.ensure_connection()
    record.inserter._connect()
    with fault():
        response = client.post(path, body, "application/json")

    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json()["outcome"] == outcome
    assert response.json()["detail"] == (NOT_RECORDED if outcome == "not-recorded" else OUTCOME_UNKNOWN)
    if outcome == "not-recorded":
        assert not Submission.objects.exists()


def test_failed_form_reports_its_outcome(client: Client) -> None:
    with connection_refused():
        response = client.post("/", {"number": "15"})

    assert response.status_code == 503
    assertInHTML(f"<p>{NOT_RECORDED}</p>".replace("'", "&#x27;"), response.text)


def test_submission_detects_a_closed_connection(client: Client) -> None:
    before = record.record_one(15, "api")
    with connection.cursor() as cursor:
        pid = record.inserter._connect().info.backend_pid
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])

    after = record.record_one(15, "api")

    assert list(Submission.objects.order_by("id")) == [before, after]


@pytest.mark.usefixtures("ended_connection")
def test_next_request_reconnects(client: Client) -> None:
    lost = client.get("/api/fizzbuzz")
    connection.close_if_unusable_or_obsolete()  # outside of tests, this happens after each request
    found = client.get("/api/fizzbuzz")

    assert (lost.status_code, found.status_code) == (503, 200)
