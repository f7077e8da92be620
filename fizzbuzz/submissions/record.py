"""Write path: the only module that inserts submissions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from django.db import connection, transaction

from fizzbuzz import metrics
from fizzbuzz.counts import fold_scheduler
from fizzbuzz.models import Submission
from fizzbuzz.submissions import outcomes
from fizzbuzz.submissions.group_commit import GroupCommit
from fizzbuzz.submissions.inserter import SubmissionInserter, insert

QUEUE_TIMEOUT_SECONDS = 5.0  # maximum wait until a group commit takes the submission

log = logging.getLogger(__name__)


def record(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """Record all numbers or none, and return their submissions in the same order once they are committed.

    Inside the caller's transaction, they are committed and counted in the metrics together with it.
    Raise outcomes.NotRecorded or outcomes.OutcomeUnknown.
    """
    if len(numbers) == 1 and not connection.in_atomic_block:
        submissions = [_group_commit.insert(numbers[0])]
        _after_commit(numbers, channel)
        return submissions
    with outcomes.not_recorded_on_error():
        connection.ensure_connection()
    with outcomes.classify_write_error(), transaction.atomic(savepoint=False):  # the commit
        with outcomes.not_recorded_on_error(), connection.cursor() as cursor:
            submissions = insert(cursor, numbers)
        transaction.on_commit(lambda: _after_commit(numbers, channel))
    return submissions


def load(numbers: Iterable[int]) -> None:
    """Append numbers by COPY, within the caller's transaction; the caller folds. All must fit into memory.

    They are not counted in the metrics, which are not exported from a command.
    """
    statement = "COPY fizzbuzz_submission (number) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(statement) as copy:
        copy.write("".join(f"{number}\n" for number in numbers))


def _after_commit(numbers: Sequence[int], channel: metrics.Channel) -> None:
    """Trigger folds and count the rows. They are recorded: this must neither fail nor delay the response."""
    try:
        fold_scheduler.scheduler.recorded(len(numbers))
        metrics.count_submissions(numbers, channel)
    except Exception:
        log.exception("%s submissions were recorded, but could not be counted in the metrics", len(numbers))


inserter = SubmissionInserter()
_group_commit = GroupCommit(inserter.insert, QUEUE_TIMEOUT_SECONDS)
