"""Write path: the only module that records submissions.

Single numbers wait in GroupCommit, and SubmissionInserter inserts those that wait. A batch, and a submission with an
idempotency key, has a transaction of its own on Django's connection.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from queue import Empty, SimpleQueue
from typing import Any

import psycopg
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from fizzbuzz import metrics
from fizzbuzz.counts import fold_scheduler
from fizzbuzz.db import faults
from fizzbuzz.db.deadline import DeadlineConnection, connect_with_deadline
from fizzbuzz.models import Submission

STATEMENT_TIMEOUT_SECONDS = 5.0  # of single numbers
QUEUE_TIMEOUT_SECONDS = 5.0  # maximum wait until a statement takes a single number
MAX_NUMBERS_PER_STATEMENT = 1_000

_INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[]) RETURNING id, number, created_at"

log = logging.getLogger(__name__)


class NotRecorded(OperationalError):
    """The request recorded nothing: the statement was not sent, or the server rejected it."""


class OutcomeUnknown(OperationalError):
    """The statement was sent and the server did not confirm it: it may or may not be committed."""


Failure = NotRecorded | OutcomeUnknown


class Rejected(Exception):
    """The request is at fault, and recorded nothing."""

    detail = ""

    def __str__(self) -> str:
        return self.detail


@contextmanager
def classify_errors(*, sent: bool) -> Iterator[None]:
    """Map any error to NotRecorded, or to OutcomeUnknown if a statement or commit was sent and may have succeeded."""
    try:
        yield
    except (NotRecorded, OutcomeUnknown, Rejected):
        raise
    except Exception as error:
        raise (OutcomeUnknown if sent and not _is_rolled_back(error) else NotRecorded)(str(error)) from error


def _is_rolled_back(error: Exception) -> bool:
    """Return whether the server rejected the statement with this error.

    Severity ERROR says that. FATAL and lost connections may follow its commit, and so may an error of the driver, such
    as one that cannot parse the response, and Citus' error about a worker that was lost.
    """
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    is_error = isinstance(cause, psycopg.Error) and cause.diag.severity_nonlocalized == "ERROR"
    return is_error and not faults.is_worker_unreachable(error)


@contextmanager
def write_transaction() -> Iterator[None]:
    """Run a transaction on Django's connection. Raise NotRecorded, OutcomeUnknown or Rejected."""
    with classify_errors(sent=False):
        connection.ensure_connection()
    with classify_errors(sent=True), transaction.atomic(), classify_errors(sent=False):
        yield


def _insert_rows(cursor: CursorWrapper | psycopg.Cursor[Any], numbers: Sequence[int]) -> list[Submission]:
    """Insert the numbers in one statement, and return their submissions in the same order."""
    # Passed as text, because psycopg would inspect each number of a list to find the array's type.
    cursor.execute(_INSERT, [f"{{{','.join(map(str, numbers))}}}"])
    # RETURNING guarantees no order. Rows of the same number are interchangeable.
    by_number = defaultdict(list)
    for id_, number, created_at in sorted(cursor.fetchall(), reverse=True):
        by_number[number].append(Submission(id_, number, created_at.astimezone(UTC)))
    return [by_number[number].pop() for number in numbers]


class SubmissionInserter:
    """Inserts on a private connection, which is reopened after any error. Not thread-safe.

    While PostgreSQL has not answered a statement that exceeded its deadline, it rejects more: each would leave another
    connection waiting, such as for a synchronous standby, up to max_connections.
    """

    _connection: DeadlineConnection | None = None
    _failed = False

    def run(self, numbers: Sequence[int]) -> list[Submission]:
        """Insert all numbers or none, and return their submissions in the same order once they are committed."""
        try:
            with classify_errors(sent=False):
                connection = self._connect()
            with classify_errors(sent=True):
                return _insert_rows(connection.prepared, numbers)
        except BaseException:
            self._failed = True
            raise

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection, self._failed = None, False

    def _connect(self) -> DeadlineConnection:
        if self._connection and (self._failed or self._connection.is_lost()):
            if self._connection.is_waiting:
                raise psycopg.OperationalError("PostgreSQL has not answered the last statement yet")
            self.close()
        if not self._connection:
            self._connection = connect_with_deadline(STATEMENT_TIMEOUT_SECONDS, autocommit=True)
        return self._connection


class GroupCommit:
    """Calls `execute` with the numbers of waiting callers; it returns their submissions in order, or raises.

    Numbers that arrive while it runs share the next call. A single number is sent at once.

    `execute` runs in one thread (in a worker: a greenlet), which the first number starts. So an interrupted caller
    (GreenletExit, gevent.Timeout, KeyboardInterrupt) ends only its own wait, not the statement or other callers' waits.
    """

    def __init__(self, execute: Callable[[list[int]], list[Submission]], timeout_seconds: float) -> None:
        self._execute = execute
        self._timeout_seconds = timeout_seconds
        # Numbers by the queue for the answer to their caller. The thread pops a number to send it, its caller to
        # withdraw it: `pop` is atomic, so only one of them gets it.
        self._waiting: dict[SimpleQueue[Submission | Failure], int] = {}
        self._arrived = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, number: int) -> Submission:
        """Return the number's submission once it is committed.

        Raise NotRecorded or OutcomeUnknown, as `execute` does (any other error of it is OutcomeUnknown), or NotRecorded
        if no statement took the number within the timeout.
        """
        queue: SimpleQueue[Submission | Failure] = SimpleQueue()
        try:
            self._waiting[queue] = number
            self._wake()
            answer = queue.get(timeout=self._timeout_seconds)
        except Empty:
            if self._waiting.pop(queue, None) is not None:
                raise NotRecorded(f"No statement took this number within {self._timeout_seconds} s") from None
            answer = queue.get()  # part of a statement, which has its own timeout
        finally:
            self._waiting.pop(queue, None)  # if this caller was interrupted
        if isinstance(answer, Failure):
            raise type(answer)(*answer.args) from answer.__cause__  # each caller has its own traceback
        return answer

    def _wake(self) -> None:
        self._arrived.set()
        with self._starting:
            if self._thread is None or not self._thread.is_alive():  # a fork does not copy the thread
                self._thread = threading.Thread(target=self._run, name="group commit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                time.sleep(0)  # yield once, so that runnable greenlets can join this batch
                taken = {
                    queue: number
                    for queue in list(self._waiting)[:MAX_NUMBERS_PER_STATEMENT]
                    if (number := self._waiting.pop(queue, None)) is not None
                }
                if taken:
                    self._commit(taken)

    def _commit(self, taken: dict[SimpleQueue[Submission | Failure], int]) -> None:
        try:
            for queue, submission in zip(taken, self._execute(list(taken.values())), strict=True):
                queue.put(submission)
        except BaseException as error:  # noqa: BLE001 - raised in the callers; this thread must not end
            outcome = error if isinstance(error, Failure) else OutcomeUnknown(repr(error))
            for queue in taken:
                queue.put(outcome)


inserter = SubmissionInserter()
_group_commit = GroupCommit(inserter.run, QUEUE_TIMEOUT_SECONDS)


def record_one(number: int, channel: metrics.Channel) -> Submission:
    """Record a number by group commit, and return its submission once it is committed.

    Raise NotRecorded or OutcomeUnknown.
    """
    submission = _group_commit.submit(number)
    _after_commit([number], channel)
    return submission


def record_batch(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """Record all numbers or none in a transaction, and return their submissions in the same order.

    Raise NotRecorded or OutcomeUnknown.
    """
    with write_transaction():
        return record_within(numbers, channel)


def record_within(numbers: Sequence[int], channel: metrics.Channel) -> list[Submission]:
    """Like `record_batch`, but within the caller's write_transaction."""
    with connection.cursor() as cursor:
        submissions = _insert_rows(cursor, numbers)
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
