from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from psycopg.errors import UndefinedTable

from fizzbuzz import times
from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.counts import folding, ranking
from fizzbuzz.models import Submission
from tests.log import append_at
from tests.problems import assert_errors, assert_problem

SECONDS = "A number of seconds or milliseconds is not a time. "
PLUS = "In a URL, + is decoded as a space: write %2B, as in 2026-01-31T12:00:00%2B01:00. "
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def log(transactional_db: None) -> None:
    """15 at 12:00, 13:00 and 14:00, and 7 at 13:00."""
    for hours, *numbers in ((0, 15), (1, 15, 7), (2, 15)):
        append_at(f"{NOON + timedelta(hours=hours)}", *numbers)
    folding.fold()


@pytest.mark.parametrize(
    ("bounds", "counts"),
    [
        ({"since": "2026-01-31T13:00:00Z"}, {15: 2, 7: 1}),
        ({"until": "2026-01-31T13:00:00Z"}, {15: 1}),
        ({"since": "2026-01-31T13:00:00Z", "until": "2026-01-31T14:00:00Z"}, {7: 1, 15: 1}),
        ({"since": "2026-01-31T15:00:00+02:00", "until": "2026-01-31T16:00:00+02:00"}, {7: 1, 15: 1}),
        ({"since": "2026-01-31T13:00", "until": "2026-01-31T13:00:00.000001"}, {7: 1, 15: 1}),
        ({"since": "2026-01-31"}, {15: 3, 7: 1}),
        ({"until": "2026-01-31"}, {}),
        ({"until": "0001-01-01T00:00:00+00:40"}, {}),
        ({"until": "9999-12-31T23:59:59-00:40"}, {15: 3, 7: 1}),
        ({"since": "2026-01-31T13:00:00z", "until": "2026-01-31t13:59:60z"}, {7: 1, 15: 1}),
        ({"since": "2026-01-31 13:59:60.000001Z"}, {}),
        ({"since": "9999-12-31T23:59:60Z"}, {}),
        ({"since": "2026-01-31T14:00:00Z", "until": "2026-01-31T15:00:00+01:00"}, {}),
        ({"limit": "1", "since": "2026-01-31"}, {15: 3}),
        ({"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}, {15: 3, 7: 1}),
    ],
)
def test_time_range_is_half_open_and_utc(client: Client, bounds: dict[str, str], counts: dict[int, int]) -> None:
    response = client.get("/api/most_common", bounds)

    numbers = {
        15: {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz"},
        7: {"number": 7, "result": "7", "kind": "Number"},
    }
    assert response.json() == [{**numbers[number], "count": count} for number, count in counts.items()]


@pytest.mark.parametrize("parameter", ["since", "until"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("yesterday", ""),
        ("20260131T120000Z", ""),
        ("2026-W05-6", ""),
        ("2026-01-31T12:00+24:00", ""),
        ("\x00", ""),
        ("1769860800", SECONDS),
        ("1704051122334", SECONDS),
        ("2026-02-30", "There is no such time: day is out of range for month. "),
        ("2026-01-31T12:00:61Z", "There is no such time: second must be in 0..59. "),
        ("2026-01-31T12:00:00 02:00", PLUS),
        ("2026-01-31T12:00 0200", PLUS),
    ],
)
def test_invalid_time_is_rejected(client: Client, parameter: str, text: str, reason: str) -> None:
    response = client.get("/api/most_common", {parameter: text})

    assert_errors(response, (parameter, reason + times.EXPECTED))


def test_reversed_time_range_is_rejected(client: Client) -> None:
    response = client.get("/api/most_common", {"since": "2026-01-31T14:00:00Z", "until": "2026-01-31"})

    assert_errors(response, ("since", "since is after until."))


@contextmanager
def slow_log(seconds: float) -> Iterator[None]:
    """Make reads of the log take so many seconds."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE fizzbuzz_submission RENAME TO slow")
        cursor.execute(
            f"CREATE VIEW fizzbuzz_submission AS SELECT slow.* FROM slow WHERE (SELECT true FROM pg_sleep({seconds}))"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP VIEW fizzbuzz_submission")
            cursor.execute("ALTER TABLE slow RENAME TO fizzbuzz_submission")


def test_time_range_that_exceeds_the_timeout_is_rejected(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "TIME_RANGE_TIMEOUT_SECONDS", 0.5)
    detail = "Counting this time range takes longer than 0.5 s. Choose a narrower one."

    with slow_log(10):
        response = client.get("/api/most_common", {"until": "2026-01-31"})

    assert_errors(response, ("since", detail))


def test_command_counts_a_time_range_without_a_timeout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "TIME_RANGE_TIMEOUT_SECONDS", 0.05)

    with slow_log(0.2):
        call_command("top_numbers", "--since=2026-01-31", "--until=2026-01-31T15:00+01:00", "--format=csv")

    assert capsys.readouterr().out == "number,result,count\n15,FizzBuzz,2\n7,7,1\n"


def test_concurrent_time_ranges_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "time_ranges", Bulkhead("time ranges are being counted", 1, 0))

    with ranking.time_ranges.slot():
        rejected = client.get("/api/most_common", {"since": "2026-01-31"})
        without_range = client.get("/api/most_common")
    answered = client.get("/api/most_common", {"since": "2026-01-31"})

    assert (rejected.status_code, rejected["Retry-After"]) == (429, "5")
    assert_problem(
        rejected, "too-many-requests", "Too many time ranges are being counted at the moment. Try again in 5 s."
    )
    assert (without_range.status_code, answered.status_code) == (200, 200)


def test_other_database_errors_of_a_time_range_are_raised(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE fizzbuzz_submission RENAME TO elsewhere")
    try:
        with pytest.raises(UndefinedTable, match="fizzbuzz_submission"):
            client.get("/api/most_common", {"since": "2026-01-31"})
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO fizzbuzz_submission")


def test_time_range_is_read_from_its_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO fizzbuzz_submission (number, created_at) SELECT 7, %s + second * interval '1 second' "
            "FROM generate_series(1, 100000) AS second",
            [NOON],
        )
        cursor.execute("ANALYZE fizzbuzz_submission")

    plan = Submission.objects.between(NOON + timedelta(days=1), None).explain()

    assert "Bitmap Index Scan on submission_created_at" in plan
