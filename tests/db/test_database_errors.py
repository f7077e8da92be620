"""Errors raised by PostgreSQL, and the responses to them."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from django.db import OperationalError, connection
from django.test import Client
from pytest_django.asserts import assertInHTML

from fizzbuzz.db.faults import Fault, end_outage, is_worker_unreachable
from fizzbuzz.models import Submission
from fizzbuzz.submissions import record
from fizzbuzz_site.http.errors import OUTCOME_UNKNOWN
from fizzbuzz_site.serving.gate import FORM, JSON
from tests.marks import commits
from tests.problems import assert_problem

pytestmark = commits

INTERNAL_ERROR = "Internal server error. Try again; if it persists, contact the operator."
TRIGGER = """
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'of a test' USING ERRCODE = '{}'; END $$;
    CREATE TRIGGER fail BEFORE INSERT ON fizzbuzz_submission EXECUTE FUNCTION fail()
"""
RENAME = "ALTER TABLE fizzbuzz_submission RENAME TO elsewhere"
RENAME_BACK = "ALTER TABLE elsewhere RENAME TO fizzbuzz_submission"
# An identity column that begins again: the next ids are in use.
SEQUENCE_BEHIND = """
    INSERT INTO fizzbuzz_submission (number) SELECT 7 FROM generate_series(1, 9);
    SELECT setval('fizzbuzz_submission_id_seq', (SELECT min(id) FROM fizzbuzz_submission), false)
"""

SUBMISSIONS = [
    ("/api/fizzbuzz", {"number": 15}, {}),
    ("/api/fizzbuzz/batch", {"numbers": [15, 16]}, {}),
    ("/api/fizzbuzz", {"number": 15}, {"Idempotency-Key": "k"}),
]


def raising(state: str) -> tuple[str, str]:
    """Return statements that let each INSERT fail with this SQLSTATE, and that end this."""
    return TRIGGER.format(state), "DROP TRIGGER fail ON fizzbuzz_submission; DROP FUNCTION fail()"


@contextmanager
def executed(before: str, after: str) -> Iterator[None]:
    """Execute statements on another connection, before and after the block."""
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute(before)
        try:
            yield
        finally:
            cursor.execute(after)


@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        *((raising(state), Fault.UNAVAILABLE) for state in ("57P01", "08P01")),
        *((raising(state), Fault.BUSY) for state in ("40P01", "55P03", "57014")),
        *((raising(state), Fault.EXHAUSTED) for state in ("53200", "53100")),
        *((raising(state), Fault.OURS) for state in ("22023", "F0000")),  # invalid parameter, configuration file error
        ((RENAME, RENAME_BACK), Fault.OURS),
        ((SEQUENCE_BEHIND, "DELETE FROM fizzbuzz_submission"), Fault.OURS),
    ],
)
def test_database_error_of_a_write_is_classified_and_nothing_recorded(
    client: Client, caplog: pytest.LogCaptureFixture, statements: tuple[str, str], fault: Fault
) -> None:
    is_ours = fault is Fault.OURS
    with executed(*statements):
        responses = [client.post(path, body, JSON, headers=headers) for path, body, headers in SUBMISSIONS]

    detail = f"This request recorded nothing. {fault.value}"
    for response in responses:
        assert_problem(response, "internal-error" if is_ours else "not-recorded", detail, outcome="not-recorded")
        assert response.get("Retry-After") == (None if is_ours else "5")
    assert not Submission.objects.exists()
    logged = [each for each in caplog.records if each.name in {"fizzbuzz_site.http.errors", "fizzbuzz.db.faults"}]
    assert [bool(each.exc_info) for each in logged] == [fault is not Fault.UNAVAILABLE] * (3 if is_ours else 1)


@pytest.mark.parametrize("path", ["/api/fizzbuzz", "/"])
@pytest.mark.parametrize(
    ("status", "detail", "error"),
    [
        # A server that panics during a commit may have recorded the rows.
        (503, "The database gave no confirmation.", record.OutcomeUnknown("PANIC")),
        (503, Fault.UNAVAILABLE.value, OperationalError("while the response was made")),
        (500, INTERNAL_ERROR, ZeroDivisionError()),
    ],
)
def test_each_5xx_to_a_submission_has_an_outcome(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, status: int, detail: str, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error from psycopg.errors.DataCorrupted() if isinstance(error, record.OutcomeUnknown) else None

    monkeypatch.setattr(record, "record_one", fail)
    client.raise_request_exception = False
    response = client.post(path, {"number": 15}, FORM if path == "/" else JSON)

    assert response.status_code == status
    assert f"{detail} {OUTCOME_UNKNOWN}" in response.text
    assert path == "/" or response.json()["outcome"] == "outcome-unknown"


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_response_that_the_driver_cannot_parse_is_classified(client: Client, headers: dict[str, str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET DateStyle TO 'SQL, DMY'")  # psycopg cannot parse it
    response = client.post("/api/fizzbuzz/batch", {"numbers": [15]}, JSON, headers=headers)
    connection.close()

    assert (response.status_code, response.json()["outcome"]) == (500, "not-recorded")
    assert not Submission.objects.exists()


def test_fault_of_ours_in_a_read_is_an_internal_error(client: Client) -> None:
    client.raise_request_exception = False
    with executed(RENAME, RENAME_BACK):
        response = client.get("/api/most_common")

    assert_problem(response, "internal-error", INTERNAL_ERROR)


READS = ["/api/fizzbuzz", "/api/numbers/7", "/", "/numbers/7", "/info"]


@pytest.mark.parametrize("path", [*READS, "/api/most_common?since=2026-01-31", "POST /"])  # since: its own connection
def test_request_without_a_database_returns_503_and_an_outage_is_logged_once(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    is_write = path == "POST /"
    with monkeypatch.context() as patch:
        patch.setitem(connection.settings_dict, "PORT", "1")
        connection.close()
        response, _ = (client.post("/", {"number": "15"}) if is_write else client.get(path) for _ in range(2))
    connection.close()
    end_outage("writes" if is_write else "reads")  # as any that succeeds

    assert (response.status_code, response["Retry-After"]) == (503, "5")
    if path.startswith("/api/"):
        assert_problem(response, "unavailable", Fault.UNAVAILABLE.value)
    else:
        nothing = "This request recorded nothing. " if is_write else ""
        assertInHTML(f"<p>{nothing}{Fault.UNAVAILABLE.value}</p>", response.text)
    logged = "\n".join(each.getMessage() for each in caplog.records)
    assert re.fullmatch(r"The database fails: .+\nThe database works again, after \d s", logged)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.ConnectionFailure("connection to the remote node u@10.0.0.2:5432 failed"), True),
        (psycopg.errors.ConnectionFailure("EOF\nCONTEXT:  while executing command on 10.0.0.2:5432"), True),
        (psycopg.errors.InternalError_("the connection marked as essential failed"), True),
        (psycopg.errors.ProtocolViolation("query_timeout"), False),  # PgBouncer's
        (psycopg.OperationalError("server closed the connection unexpectedly"), False),
    ],
)
def test_only_citus_reports_an_unreachable_worker(*, error: psycopg.Error, expected: bool) -> None:
    assert is_worker_unreachable(error) == expected
