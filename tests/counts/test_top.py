from collections import Counter
from unittest.mock import patch

import pytest
from django.db import transaction
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from fizzbuzz.counts import folding, ranking
from fizzbuzz.counts.ranking import facts_of
from tests.log import append
from tests.marks import commits

pytestmark = commits

FEW = st.lists(st.integers(-3, 6), max_size=25)


def test_ties_are_ordered_by_number_in_rollup_and_tail() -> None:
    append(5, 5, 9, 9, -3)
    folding.fold()
    append(-3, 7, 7, 2, 2)

    assert ranking.top(3) == [(-3, 2), (2, 2), (5, 2)]
    assert ranking.top(9) == [(-3, 2), (2, 2), (5, 2), (7, 2), (9, 2)]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_reading_is_one_statement(limit: int, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    append(1, 2, 2)

    with django_assert_num_queries(1):
        ranking.top(limit)
    with django_assert_num_queries(1):
        ranking.count_of(2)
    with django_assert_num_queries(1):
        facts_of(2)


@given(folded=FEW, tail=FEW, limit=st.integers(1, 4), near=st.sampled_from([0, 1, 100]))
@example(folded=[1, 1, 2, 2, 3], tail=[3], limit=1, near=100)  # no change
@example(folded=[2, 2, 1], tail=[1], limit=1, near=100)  # from a count one lower, by being smaller
@example(folded=[2], tail=[1], limit=1, near=100)  # not in the rollup
@example(folded=[2, 2, 2, 1], tail=[1, 1], limit=1, near=100)  # from a much lower count
@example(folded=[2, 2, 3, 3, 4, 4], tail=[4], limit=1, near=1)  # from behind more ties than MAX_NEAR_NUMBERS
@settings(max_examples=150, deadline=None)
def test_top_equals_a_count_of_the_whole_log(folded: list[int], tail: list[int], limit: int, near: int) -> None:
    counted = Counter(folded + tail)
    expected = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]

    with transaction.atomic(), patch.object(ranking, "MAX_NEAR_NUMBERS", near):
        append(*folded)
        fold_here()
        append(*tail)
        top = ranking.top(limit)
        transaction.set_rollback(True)

    assert top == expected


@given(folded=FEW, tail=FEW, max_rank=st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_facts_equal_a_count_of_the_whole_log(folded: list[int], tail: list[int], max_rank: int) -> None:
    counted = Counter(folded + tail)
    ranked = sorted(counted, key=lambda number: (-counted[number], number))[:max_rank]
    expected = {
        number: (counted[number], ranked.index(number) + 1 if number in ranked else None) for number in range(-4, 8)
    }

    with transaction.atomic(), patch.object(ranking, "MAX_RANK", max_rank):
        append(*folded)
        fold_here()
        append(*tail)
        found = {number: facts_of(number) for number in expected}
        transaction.set_rollback(True)

    assert {number: (facts.count, facts.rank) for number, facts in found.items()} == expected
    assert {number for number, facts in found.items() if facts.first and facts.last} == set(counted)


def fold_here() -> None:
    """As folding.fold, but of the whole log, and in the transaction of the caller."""
    with transaction.get_connection().cursor() as cursor:
        cursor.execute(
            "INSERT INTO fizzbuzz_numbercount (number, count)"
            " SELECT number, count(*) FROM fizzbuzz_submission GROUP BY number"
        )
        cursor.execute(
            "INSERT INTO fizzbuzz_watermark (id, through, folded_at)"
            " SELECT 1, COALESCE(max(id), 0), now() FROM fizzbuzz_submission"
        )
