"""Errors raised by PostgreSQL, and the responses to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.client import MULTIPART_CONTENT

from fizzbuzz.db.faults import Fault, fault_of
from fizzbuzz.models import Submission
from fizzbuzz.submissions import record
from fizzbuzz.submissions.outcomes import NotRecorded, OutcomeUnknown
from fizzbuzz_site.http.errors import OUTCOME_UNKNOWN
from tests.log import append
from tests.marks import commits

pytestmark = commits

INTERNAL = "This request recorded nothing. Internal error. If it persists, contact the operator."


@contextmanager
def trigger_that_raises(sqlstate: str) -> Iterator[None]:
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute(f"""
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'of a test' USING ERRCODE = '{sqlstate}'; END $$;
            CREATE TRIGGER fail BEFORE INSERT ON fizzbuzz_submission EXECUTE FUNCTION fail()
        """)
        try:
            yield
        finally:
            cursor.execute("DROP TRIGGER fail ON fizzbuzz_submission; DROP FUNCTION fail()")


@contextmanager
def table_missing(sqlstate: str) -> Iterator[None]:
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("ALTER TABLE fizzbuzz_submission RENAME TO elsewhere")
        try:
            yield
        finally:
            cursor.execute("ALTER TABLE elsewhere RENAME TO fizzbuzz_submission")


@contextmanager
def sequence_behind(sqlstate: str) -> Iterator[None]:
    append(7)
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval('fizzbuzz_submission_id_seq', (SELECT max(id) FROM fizzbuzz_submission), false)")
    yield
    Submission.objects.all().delete()


@pytest.mark.parametrize(
    ("break_it", "sqlstate", "status", "detail"),
    [
        (
            trigger_that_raises,
            "57P01",
            503,
            "This request recorded nothing. The database is unavailable. Try again in a moment.",
        ),
        (trigger_that_raises, "40P01", 503, f"This request recorded nothing. {Fault.BUSY.value}"),
        (trigger_that_raises, "55P03", 503, f"This request recorded nothing. {Fault.BUSY.value}"),
        (trigger_that_raises, "57014", 503, f"This request recorded nothing. {Fault.BUSY.value}"),
        (trigger_that_raises, "53200", 503, f"This request recorded nothing. {Fault.EXHAUSTED.value}"),
        (trigger_that_raises, "53100", 503, f"This request recorded nothing. {Fault.EXHAUSTED.value}"),
        (trigger_that_raises, "22023", 500, INTERNAL),  # invalid parameter value
        (trigger_that_raises, "F0000", 500, INTERNAL),  # configuration file error
        (table_missing, "42P01", 500, INTERNAL),
        (sequence_behind, "23505", 500, INTERNAL),
    ],
)
@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/api/fizzbuzz", {"number": 15}, {}),
        ("/api/fizzbuzz/batch", {"numbers": [15, 16]}, {}),
        ("/api/fizzbuzz", {"number": 15}, {"Idempotency-Key": "k"}),
    ],
)
def test_database_error_of_a_write_is_classified_and_nothing_recorded(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    client: Client,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: Any,
    headers: dict[str, str],
    break_it: Callable[[str], AbstractContextManager[None]],
    sqlstate: str,
    status: int,
    detail: str,
) -> None:
    with break_it(sqlstate):
        response = client.post(path, body, "application/json", headers=headers)

    problem = response.json()
    assert (response.status_code, problem["detail"], problem["outcome"]) == (status, detail, "not-recorded")
    assert problem["type"] == f"/docs/problems#{'not-recorded' if status == 503 else 'internal-error'}"
    assert response.get("Retry-After") == ("5" if status == 503 else None)
    assert not Submission.objects.exists()
    (logged,) = [each for each in caplog.records if each.name in {"fizzbuzz_site.http.errors", "fizzbuzz.db.outage"}]
    assert bool(logged.exc_info) == (Fault.UNAVAILABLE.value not in detail)


@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/"])
@pytest.mark.parametrize(
    ("status", "detail", "error"),
    [
        # A server that panics during a commit may have recorded the rows.
        (503, "The database gave no confirmation.", OutcomeUnknown("PANIC")),
        (503, Fault.UNAVAILABLE.value, OperationalError("while the response was made")),
        (500, "Internal server error. Try again; if it persists, contact the operator.", ZeroDivisionError()),
    ],
)
def test_each_5xx_to_a_submission_has_an_outcome(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, status: int, detail: str, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error from psycopg.errors.DataCorrupted() if isinstance(error, OutcomeUnknown) else None

    monkeypatch.setattr(record, "record_one", fail)
    client.raise_request_exception = False
    response = client.post(path, {"number": 15}, "application/json" if path != "/" else MULTIPART_CONTENT)

    assert response.status_code == status
    assert f"{detail} {OUTCOME_UNKNOWN}" in response.text
    if path != "/":
        assert response.json()["outcome"] == "outcome-unknown"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_response_that_the_driver_cannot_parse_is_classified(client: Client, headers: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET DateStyle TO 'SQL, DMY'")  # psycopg cannot parse it
        response = client.post("/api/fizzbuzz/batch", {"numbers": [15]}, "application/json", headers=headers)
        cursor.execute("RESET DateStyle")

    assert (response.status_code, response.json()["outcome"]) == (500, "not-recorded")
    assert not Submission.objects.exists()


@pytest.mark.parametrize(("status", "timeout"), [(503, "1ms"), (500, "0")])
def test_slow_read_returns_503_and_a_missing_table_500(client: Client, status: int, timeout: str) -> None:
    client.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [timeout])
        if status == 500:
            cursor.execute("ALTER TABLE fizzbuzz_numbercount RENAME TO elsewhere")
        with closing(connection.copy()) as other:
            other.set_autocommit(False)
            if status == 503:
                other.cursor().execute("LOCK TABLE fizzbuzz_numbercount IN ACCESS EXCLUSIVE MODE")
            response = client.get("/api/most_common")
        if status == 500:
            cursor.execute("ALTER TABLE elsewhere RENAME TO fizzbuzz_numbercount")
        cursor.execute("RESET lock_timeout")

    assert response.status_code == status
    assert response.json()["detail"] == (
        Fault.BUSY.value if status == 503 else "Internal server error. Try again; if it persists, contact the operator."
    )


def test_fault_is_found_in_the_chain_of_causes() -> None:
    def raised_from(cause: Exception) -> Exception:
        error = OperationalError()
        error.__cause__ = cause
        outer = NotRecorded()
        outer.__cause__ = error
        return outer

    causes = [
        psycopg.errors.DiskFull(),
        psycopg.errors.UniqueViolation(),
        psycopg.errors.TooManyConnections(),
        psycopg.OperationalError("no answer within 5 s"),
        psycopg.ProgrammingError("the query has 0 placeholders"),
    ]
    assert [fault_of(raised_from(cause)) for cause in causes] == [
        Fault.EXHAUSTED, Fault.OURS, Fault.UNAVAILABLE, Fault.UNAVAILABLE, Fault.OURS,
    ]  # fmt: skip
    assert [fault_of(error) for error in (NotRecorded(), ValueError(), None)] == [
        Fault.UNAVAILABLE, Fault.OURS, Fault.OURS,
    ]  # fmt: skip
