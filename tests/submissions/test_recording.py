"""Recording: all numbers or none, their rows in order, counted in the metrics once committed."""

import pytest
from django.db import connection, transaction
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from fizzbuzz import rules
from fizzbuzz.models import Submission
from fizzbuzz.submissions import record
from fizzbuzz.submissions.outcomes import NotRecorded
from tests.marks import commits

pytestmark = commits


def counted(kind: str, channel: str) -> float:
    return REGISTRY.get_sample_value("fizzbuzz_submissions_total", {"kind": kind, "channel": channel}) or 0


@given(st.lists(st.integers(-3, 3) | st.integers(rules.SMALLEST, rules.LARGEST), max_size=20))
@settings(max_examples=50, deadline=None)
def test_record_returns_the_rows_in_order(numbers: list[int]) -> None:
    submissions = record.record_batch(numbers, "batch")

    ids = [each.id for each in submissions]
    rows = Submission.objects.in_bulk(ids)
    assert [each.number for each in submissions] == numbers
    assert len(rows) == len(numbers)
    assert [each.id for each in sorted(submissions, key=lambda each: each.number)] == sorted(
        ids, key=lambda id_: (rows[id_].number, id_)
    )  # equal numbers get their ids in order
    assert [(each.number, each.created_at) for each in submissions] == [
        (rows[id_].number, rows[id_].created_at) for id_ in ids
    ]


def test_record_is_all_or_nothing() -> None:
    before = counted("FizzBuzz", "batch")

    with pytest.raises(NotRecorded):
        record.record_batch([15, 15, 2**63], "batch")

    assert not Submission.objects.exists()
    assert counted("FizzBuzz", "batch") == before


def test_metrics_count_committed_rows() -> None:
    before = {kind: counted(kind.value, "batch") for kind in rules.Kind}

    with transaction.atomic():
        record.record_batch([15], "batch")
        transaction.set_rollback(True)
    record.record_batch([15, 15, 3, 7], "batch")

    added = {kind: counted(kind.value, "batch") - before[kind] for kind in rules.Kind}
    assert added == {"FizzBuzz": 2, "Fizz": 1, "Buzz": 0, "Number": 1}


def test_each_entry_point_has_its_channel_label(client: Client) -> None:
    before = [counted("FizzBuzz", channel) for channel in ("form", "api", "batch")]

    client.post("/", {"number": "15"})
    client.post("/api/fizzbuzz", {"number": 15}, "application/json")
    client.post("/api/fizzbuzz/batch", {"numbers": [15, 15]}, "application/json")

    after = [counted("FizzBuzz", channel) for channel in ("form", "api", "batch")]
    assert [new - old for new, old in zip(after, before, strict=True)] == [1, 1, 2]
    assert f'fizzbuzz_submissions_total{{channel="api",kind="FizzBuzz"}} {after[1]}' in client.get("/metrics").text


def test_created_at_is_set_by_the_database() -> None:
    with connection.cursor() as cursor:
        (before,) = cursor.execute("SELECT clock_timestamp()").fetchone()
        submission = record.record_one(15, "api")
        (after,) = cursor.execute("SELECT clock_timestamp()").fetchone()

    assert before <= submission.created_at <= after
    assert str(submission) == "15 is FizzBuzz"
