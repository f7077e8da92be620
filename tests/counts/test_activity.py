"""Buckets of the periods at their edges. test_rollup*.py check that the counts are exact."""

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from fizzbuzz import rules
from fizzbuzz.counts import folding
from fizzbuzz.counts.activity import COLUMNS, PERIODS, activity
from fizzbuzz.models import MinuteCount
from tests.log import append, append_at
from tests.marks import commits

pytestmark = commits

NONE: dict[str, int] = dict.fromkeys(rules.Kind, 0)


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("folded", [True, False])
def test_submission_is_counted_in_the_bucket_of_its_time(period: str, folded: bool) -> None:
    second = activity(period)[1].start  # still a bucket if the next one begins during the test
    width = PERIODS[period].width
    append_at(f"{second - timedelta(microseconds=1)}", 7)
    append_at(f"{second}", 15, 3)
    append_at(f"{second + width - timedelta(microseconds=1)}", 3, 5)
    append_at(f"{second + width}", 8, 9)
    append_at(f"{second - 2 * width}", 10)  # before the first bucket
    if folded:
        assert folding.fold() == 8

    buckets = {bucket.start: bucket.counts for bucket in activity(period)}

    assert buckets[second] == {**NONE, "FizzBuzz": 1, "Fizz": 2, "Buzz": 1}
    assert buckets[second + width] == {**NONE, "Number": 1, "Fizz": 1}
    assert sum(sum(counts.values()) for start, counts in buckets.items() if start < second) in {0, 1}
    assert sum(sum(counts.values()) for start, counts in buckets.items() if start > second + width) == 0


@pytest.mark.parametrize("rows", [0, 1, 3, 3_000])
def test_reading_is_one_statement(rows: int, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    append(*range(rows))

    for period in PERIODS:
        with django_assert_num_queries(1):
            activity(period)


def test_each_kind_has_its_column() -> None:
    fields = [field.name for field in MinuteCount._meta.get_fields()]

    assert fields == ["minute", *COLUMNS]
    assert list(COLUMNS.values()) == list(rules.Kind)
