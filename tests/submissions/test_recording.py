"""Recording: all numbers or none, their rows in order, counted in the metrics once committed."""

from collections import Counter
from itertools import product
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from fizzbuzz import rules
from fizzbuzz.models import Submission
from fizzbuzz.submissions import record
from tests.marks import commits

pytestmark = commits


def counted() -> Counter[tuple[str, str]]:
    name, labels = "fizzbuzz_submissions_total", product(("form", "api", "batch"), rules.Kind)
    return Counter(
        {
            (channel, kind): int(REGISTRY.get_sample_value(name, {"channel": channel, "kind": kind}) or 0)
            for channel, kind in labels
        }
    )


@given(st.lists(st.integers(-3, 3) | st.integers(rules.SMALLEST, rules.LARGEST), max_size=20))
@settings(max_examples=15, deadline=None)
def test_record_returns_the_rows_in_order(numbers: list[int]) -> None:
    submissions = record.record_batch(numbers, "batch")

    rows = Submission.objects.in_bulk([each.id for each in submissions])
    assert [each.number for each in submissions] == numbers
    assert {each.id: (each.number, each.created_at) for each in submissions} == {
        row.id: (row.number, row.created_at) for row in rows.values()
    }
    by_number = sorted(submissions, key=lambda each: each.number)
    assert by_number == sorted(by_number, key=lambda each: (each.number, each.id))  # equal numbers: ids in order


def test_metrics_count_the_rows_of_each_channel_once_they_are_committed(
    client: Client, django_assert_num_queries: Any
) -> None:
    before = counted()
    with transaction.atomic():
        record.record_batch([15], "batch")
        transaction.set_rollback(True)
    with pytest.raises(record.NotRecorded):
        record.record_batch([15, 2**63], "batch")
    assert counted() == before
    assert not Submission.objects.exists()

    with django_assert_num_queries(3):  # BEGIN, INSERT and COMMIT of the batch; single numbers have another connection
        client.post("/", {"number": "15"})
        client.post("/api/fizzbuzz", {"number": 15}, "application/json")
        client.post("/api/fizzbuzz/batch", {"numbers": [15, 15, 3, 7]}, "application/json")

    assert counted() - before == {
        ("form", "FizzBuzz"): 1,
        ("api", "FizzBuzz"): 1,
        ("batch", "FizzBuzz"): 2,
        ("batch", "Fizz"): 1,
        ("batch", "Number"): 1,
    }
