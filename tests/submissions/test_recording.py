"""Recording: all numbers or none, in order, counted once they are committed; each of a group is sent once or never."""

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
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
from tests.service import ROOT, eventually


def counted() -> Counter[tuple[str, str]]:
    name, labels = "fizzbuzz_submissions_total", product(("form", "api", "batch"), rules.Kind)
    return Counter(
        {
            (channel, kind): int(REGISTRY.get_sample_value(name, {"channel": channel, "kind": kind}) or 0)
            for channel, kind in labels
        }
    )


@commits
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


@commits
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


class Crowd:
    """Callers of a group commit, whose statements complete on command.

    A statement returns submissions whose ids are ten times their numbers, or fails for a negative number.
    """

    def __init__(self, timeout_seconds: float = 60) -> None:
        self.group = record.GroupCommit(self._execute, timeout_seconds)
        self.statements: list[list[int]] = []
        self._submitted = 0
        self._answer = threading.Semaphore(0)
        self._pool = ThreadPoolExecutor(20)

    def submit(self, *numbers: int) -> list[Future[Submission]]:
        """Submit each number from its own thread; return once all are waiting or sent."""
        futures = []
        for number in numbers:
            futures.append(self._pool.submit(self.group.submit, number))
            self._submitted += 1
            assert eventually(lambda: self._arrived() == self._submitted)
        return futures

    def submit_and_send(self, number: int) -> Future[Submission]:
        """Submit a number, whose statement then runs until `answer`."""
        (future,) = self.submit(number)
        assert self.sent([number])
        return future

    def answer(self, times: int = 1) -> None:
        self._answer.release(times)

    def sent(self, *statements: list[int]) -> bool:
        return eventually(lambda: self.statements == list(statements))

    def _arrived(self) -> int:
        return len(self.group._waiting) + sum(map(len, self.statements))

    def _execute(self, numbers: list[int]) -> list[Submission]:
        self.statements.append(numbers)
        self._answer.acquire()
        if -1 in numbers:
            raise record.NotRecorded(f"rejected {numbers}") from KeyError("the cause")
        if -2 in numbers:
            raise SystemExit
        return [Submission(10 * number) for number in numbers]


def test_waiting_numbers_share_statements_of_a_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_NUMBERS_PER_STATEMENT", 3)
    crowd = Crowd()

    futures = [crowd.submit_and_send(1), *crowd.submit(2, 2, 3, 4)]
    crowd.answer(3)

    assert [future.result().id for future in futures] == [10, 20, 20, 30, 40]
    assert crowd.statements == [[1], [2, 2, 3], [4]]


def test_failing_statement_fails_only_its_own_callers_each_with_its_own_exception() -> None:
    crowd = Crowd()

    interrupted = crowd.submit_and_send(-2)
    failing = crowd.submit(-1, 2)
    crowd.answer()
    assert crowd.sent([-2], [-1, 2])
    (later,) = crowd.submit(3)
    crowd.answer(2)

    assert isinstance(interrupted.exception(), record.OutcomeUnknown)
    one, other = (future.exception() for future in failing)
    assert one is not other
    assert [repr(error) for error in (one, other)] == ["NotRecorded('rejected [-1, 2]')"] * 2
    assert [repr(error.__cause__) for error in (one, other) if error] == ["KeyError('the cause')"] * 2
    assert later.result().id == 30


def test_number_is_never_sent_after_its_timeout_and_awaited_if_it_was_sent_before() -> None:
    crowd = Crowd(timeout_seconds=0.1)

    sent = crowd.submit_and_send(1)
    with pytest.raises(record.NotRecorded, match=r"No statement took this number within 0\.1 s"):
        crowd.group.submit(2)
    crowd.group._timeout_seconds = -2  # an invalid timeout raises, like an interrupt
    with pytest.raises(ValueError, match="timeout"):
        crowd.group.submit(2)
    crowd.group._timeout_seconds = 60
    crowd.answer(2)

    assert sent.result().id == 10
    assert (crowd.group.submit(3).id, crowd.statements) == (30, [[1], [3]])


# Kill or time out greenlets at each moment of a submission: before anything runs, before the statement begins, and
# while it runs. This needs its own process, which gevent patches.
GREENLETS = """
from gevent import monkey; monkey.patch_all()
import django, gevent
django.setup()
from fizzbuzz.submissions.record import GroupCommit

def execute(items):
    statements.append(items)
    gevent.sleep(0.01)
    return [10 * item for item in items]

for turns in range(6):  # of the event loop, until the first of three is killed
    group = GroupCommit(execute, 60)
    for already_running in False, True:
        statements = []
        killed, *others = [gevent.spawn(group.submit, item) for item in (1, 2, 3)]
        for _ in range(turns):
            gevent.sleep(0)
        killed.kill()
        gevent.joinall(others, timeout=5)
        assert [each.value for each in others] == [20, 30], (turns, already_running)
        assert sorted(sum(statements, [])) in ([1, 2, 3], [2, 3]), statements

timed_out = gevent.spawn(gevent.with_timeout, 0.005, group.submit, 1, timeout_value="timed out")
patient = gevent.spawn(group.submit, 2)
gevent.joinall([timed_out, patient], timeout=5)
assert (timed_out.value, patient.value) == ("timed out", 20)
print("survived")
"""


def test_killed_greenlet_does_not_affect_other_requests() -> None:
    command = [sys.executable, "-c", GREENLETS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert (done.stdout, done.returncode) == ("survived\n", 0), done.stderr
