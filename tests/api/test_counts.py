"""The most common numbers, of all time and of a time range, and one number."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from fizzbuzz import rules
from fizzbuzz.bulkhead import Bulkhead
from fizzbuzz.counts import folding, ranking
from fizzbuzz.models import Submission
from tests.log import append, append_at
from tests.marks import commits
from tests.problems import assert_errors, assert_problem

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_most_common_come_first_and_ties_are_ordered_by_number(client: Client) -> None:
    append(7, 15, 15, -3, -3, 5, 5, 5, rules.LARGEST, rules.SMALLEST)

    response = client.get("/api/most_common?limit=5")

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response.json() == [
        {"number": 5, "result": "Buzz", "kind": "Buzz", "count": 3},
        {"number": -3, "result": "Fizz", "kind": "Fizz", "count": 2},
        {"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz", "count": 2},
        {"number": rules.SMALLEST, "result": str(rules.SMALLEST), "kind": "Number", "count": 1},
        {"number": 7, "result": "7", "kind": "Number", "count": 1},
    ]


def test_matching_etag_returns_304(client: Client) -> None:
    append(15)
    first = client.get("/api/most_common")

    same = client.get("/api/most_common", headers={"if-none-match": first["ETag"]})
    append(15)
    changed = client.get("/api/most_common", headers={"if-none-match": first["ETag"]})

    assert (first["Cache-Control"], same["Cache-Control"]) == ("no-cache", "no-cache")
    assert (same.status_code, same.content, same["ETag"]) == (304, b"", first["ETag"])
    assert (changed.status_code, changed.json()[0]["count"]) == (200, 2)


@pytest.mark.parametrize(("query", "length"), [("", 3), ("?limit=1", 1), ("?limit=%2B007", 7), ("?limit=100", 100)])
def test_limit_defaults_to_three(client: Client, query: str, length: int) -> None:
    append(*range(101))

    assert [each["number"] for each in client.get(f"/api/most_common{query}").json()] == list(range(length))


@pytest.mark.parametrize(
    ("text", "number", "result", "kind", "count"),
    [
        ("15", 15, "FizzBuzz", "FizzBuzz", 2),
        ("+03", 3, "Fizz", "Fizz", 0),
        ("-0", 0, "FizzBuzz", "FizzBuzz", 0),
        *((number, number, number, "Number", 0) for number in (-7, rules.SMALLEST, rules.LARGEST)),
    ],
)
def test_number_is_classified_and_counted(  # noqa: PLR0913, PLR0917 - the members of the response
    client: Client, text: str, number: int, result: str, kind: str, count: int
) -> None:
    append(15, 15, 7)

    response = client.get(f"/api/numbers/{text}")

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    assert response.text == f'{{"number":{number},"result":"{result}","kind":"{kind}","count":{count}}}'
    assert Submission.objects.count() == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [("１５", "It contains a full-width digit one U+FF11. "), (" 15", "It contains a space U+0020. ")],
)
def test_invalid_number_returns_404(client: Client, text: str, reason: str) -> None:
    response = client.get(f"/api/numbers/{quote(text)}")

    assert_problem(response, "not-found", reason + rules.EXPECTED)


@pytest.fixture
def log(transactional_db: None) -> None:
    """15 at 12:00, 13:00 and 14:00, and 7 at 13:00."""
    for hours, *numbers in ((0, 15), (1, 15, 7), (2, 15)):
        append_at(f"{NOON + timedelta(hours=hours)}", *numbers)
    folding.fold()


RANGES: list[tuple[dict[str, str], dict[int, int]]] = [
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
]


@pytest.mark.usefixtures("log")
def test_time_range_is_half_open_and_utc(client: Client) -> None:
    found = [client.get("/api/most_common", bounds).json() for bounds, _ in RANGES]

    assert [[(each["number"], each["count"]) for each in top] for top in found] == [
        list(counts.items()) for _, counts in RANGES
    ]


@pytest.mark.usefixtures("log")
def test_slow_time_range_is_rejected_by_the_api_and_counted_by_the_command(
    client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "TIME_RANGE_TIMEOUT_SECONDS", 0.2)
    with connection.cursor() as cursor:
        cursor.execute("""
            ALTER TABLE fizzbuzz_submission RENAME TO slow;
            CREATE VIEW fizzbuzz_submission AS SELECT slow.* FROM slow WHERE (SELECT true FROM pg_sleep(0.5))
        """)
        try:
            rejected = client.get("/api/most_common", {"until": "2026-01-31"})
            call_command("top_numbers", "--since=2026-01-31", "--until=2026-01-31T15:00+01:00", "--format=csv")
        finally:
            cursor.execute("DROP VIEW fizzbuzz_submission; ALTER TABLE slow RENAME TO fizzbuzz_submission")

    assert_errors(rejected, ("since", "Counting this time range takes longer than 0.2 s. Choose a narrower one."))
    assert capsys.readouterr().out == "number,result,count\n15,FizzBuzz,2\n7,7,1\n"


@commits
def test_concurrent_time_ranges_are_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "time_ranges", Bulkhead("time ranges are being counted", 1, 0))

    with ranking.time_ranges.slot():
        rejected = client.get("/api/most_common", {"since": "2026-01-31"})
        without_range = client.get("/api/most_common")
    answered = client.get("/api/most_common", {"since": "2026-01-31"})

    detail = "Too many time ranges are being counted at the moment. Try again in 5 s."
    assert_problem(rejected, "too-many-requests", detail)
    assert rejected["Retry-After"] == "5"
    assert (without_range.status_code, answered.status_code) == (200, 200)


def test_time_range_is_read_from_its_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("""
            INSERT INTO fizzbuzz_submission (number, created_at)
            SELECT 7, timestamptz '2026-01-31 12:00Z' + i * interval '1 second' FROM generate_series(1, 30000) AS i
        """)
        cursor.execute("ANALYZE fizzbuzz_submission")

    plan = Submission.objects.between(NOON + timedelta(hours=8), None).explain()

    assert "Bitmap Index Scan on submission_created_at" in plan
