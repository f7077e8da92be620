"""Write path: the only module that records submissions."""

import logging
from collections.abc import Iterable, Sequence

from django.db import connection, transaction

from fizzbuzz import metrics
from fizzbuzz.counts import fold_scheduler
from fizzbuzz.db import faults
from fizzbuzz.models import Submission
from fizzbuzz.submissions.group_commit import GroupCommit
from fizzbuzz.submissions.inserter import SubmissionInserter, insert_rows
from fizzbuzz.submissions.outcomes import write_transaction

QUEUE_TIMEOUT_SECONDS = 5.0  # maximum wait until a statement takes a single number

inserter = SubmissionInserter()
_group_commit = GroupCommit(inserter.run, QUEUE_TIMEOUT_SECONDS)

log = logging.getLogger(__name__)


def record_one(number: int, channel: metrics.Channel) -> Submission:
    """Record a number by group commit, and return its submission once it is committed.

    Raise outcomes.NotRecorded or outcomes.OutcomeUnknown.
    """
    submission = _group_commit.submit(number)
    _after_commit([number], channel)
    return submission


def record_batch(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """Record all numbers or none in a transaction, and return their submissions in the same order.

    Raise outcomes.NotRecorded or outcomes.OutcomeUnknown.
    """
    with write_transaction():
        return record_within(numbers, channel)


def record_within(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """Like `record_batch`, but within the caller's write_transaction."""
    with connection.cursor() as cursor:
        submissions = insert_rows(cursor, numbers)
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
    faults.end_outage("writes")
    try:
        fold_scheduler.scheduler.recorded(len(numbers))
        metrics.count_submissions(numbers, channel)
    except Exception:
        log.exception("%s submissions were recorded, but could not be counted in the metrics", len(numbers))
