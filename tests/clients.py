"""Clients that retry until they get an acknowledgement, and a ledger to compare with the log."""

import itertools
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import psycopg

from tests.service import Answer

RESPONSE_TIMEOUT_SECONDS = 60  # all timeouts of the service are much shorter
TRUSTING = ssl._create_unverified_context()  # noqa: S323 - servers of tests have certificates of their own
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Outcomes that a client must expect; any other is a fault of the service.
TRANSIENT = {
    "connection refused",
    "connection lost",
    "409 key-in-progress",
    "503 not-recorded",
    "503 outcome-unknown",
    "503 unavailable",
}
NEVER_SENT = {"connection refused", "503 not-recorded"}


class Bounds(NamedTuple):
    """How often a number may be in the log."""

    least: int
    most: int


class Ledger:
    """Record of all submissions and their outcomes, shared by all clients. Each submission has its own number."""

    def __init__(self) -> None:
        self.closed = threading.Event()  # stops new submissions
        self.outcomes: Counter[str] = Counter()
        self.retries = 0
        self.faults: list[str] = []
        self.expected: dict[int, Bounds] = {}
        self.ids: list[tuple[int, int]] = []  # in responses, with their numbers
        self.keys: dict[str, list[int]] = {}  # in the service's format, with their numbers
        self._numbers = itertools.count(1)
        self._guard = threading.Lock()

    @property
    def acknowledged(self) -> int:
        return sum(self.outcomes[outcome] for outcome in ("201", "201 replayed", "303"))

    def number(self) -> int:
        return next(self._numbers)

    def count(self, outcome: str) -> None:
        with self._guard:
            self.outcomes[outcome] += 1

    def acknowledge(self, key: str, numbers: list[int], ids: Iterable[tuple[int, int]] = ()) -> None:
        with self._guard:
            self.keys[key] = numbers
            self.expected |= {number: Bounds(count, count) for number, count in Counter(numbers).items()}
            self.ids += ids

    def settle(self, number: int, bounds: Bounds, ids: Iterable[tuple[int, int]] = ()) -> None:
        """Record a submission without a key, which is sent once."""
        with self._guard:
            self.expected[number] = bounds
            self.ids += ids

    def compare(self, database: psycopg.Connection[Any]) -> list[str]:
        """Return a description of each fault, including differences between this ledger and the log."""
        log = dict(database.execute("SELECT id, number FROM fizzbuzz_submission").fetchall())
        counted = Counter(log.values())
        kept = database.execute("SELECT key, submissions FROM fizzbuzz_idempotencykey").fetchall()
        of_key = {key: [log.get(id_) for id_ in ids] for key, ids in kept}
        wrong = {
            "lost": [number for number, bounds in self.expected.items() if counted[number] < bounds.least],
            "more than once": [number for number, bounds in self.expected.items() if counted[number] > bounds.most],
            "unattributed": [number for number in counted if number not in self.expected],
            "acknowledged with a wrong ID": [pair for pair in self.ids if log.get(pair[0]) != pair[1]],
            "duplicate IDs": [id_ for id_, times in Counter(id_ for id_, _ in self.ids).items() if times > 1],
            "keys with other rows": [key for key in {*self.keys, *of_key} if self.keys.get(key) != of_key.get(key)],
        }
        return [f"{len(each)} {what}, such as {each[:3]}" for what, each in wrong.items() if each] + self.faults


class Client(threading.Thread):
    """Thread that sends submissions, each until it is acknowledged, on a connection that is sometimes replaced."""

    def __init__(
        self, ledger: Ledger, address: Callable[[], str], seed: str, *, form: int = 1, without_key: int = 2
    ) -> None:
        super().__init__(daemon=True)
        self._ledger = ledger
        self._address = address
        self._random = Random(seed)  # noqa: S311 - a plan, no secret
        self._weights = (5, 1, form, without_key)
        self._connection: HTTPConnection | None = None

    def run(self) -> None:
        kinds = (self._single, self._batch, self._form, self._without_key)
        while not self._ledger.closed.is_set():
            self._random.choices(kinds, self._weights)[0]()
            if self._random.random() < 0.02:  # so that every worker gets connections
                self._disconnect()
        self._disconnect()

    def _single(self) -> None:
        number, key = self._ledger.number(), self._key()
        answer = self._persist("POST", "/api/fizzbuzz", json.dumps({"number": number}), JSON | {"Idempotency-Key": key})
        if answer:
            self._ledger.acknowledge(f"api:{key}", [number], _ids([answer.json()]))

    def _batch(self) -> None:
        own = [self._ledger.number() for _ in range(self._random.randint(1, 20))]
        numbers, key = [*own, *self._random.choices(own, k=5)], self._key()
        body = json.dumps({"numbers": numbers})
        answer = self._persist("POST", "/api/fizzbuzz/batch", body, JSON | {"Idempotency-Key": key})
        if answer:
            self._ledger.acknowledge(f"batch:{key}", numbers, _ids(answer.json()))

    def _form(self) -> None:
        if not self._persist("GET", "/"):
            return
        number, key = self._ledger.number(), self._key()
        if self._persist("POST", "/", urlencode({"number": number, "key": key}), FORM):
            self._ledger.acknowledge(f"form:{key}:{number}", [number])

    def _without_key(self) -> None:
        number = self._ledger.number()
        outcome, answer = self._attempt("POST", "/api/fizzbuzz", json.dumps({"number": number}), JSON)
        if answer and outcome == "201":
            self._ledger.settle(number, Bounds(1, 1), _ids([answer.json()]))
        else:
            self._ledger.settle(number, Bounds(0, 0 if outcome in NEVER_SENT else 1))
            self._pause()

    def _persist(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> Answer | None:
        """Send until the outcome is final, and return the response; None after a fault."""
        while True:
            outcome, answer = self._attempt(method, path, body, headers or {})
            if outcome not in TRANSIENT:
                return answer
            self._ledger.retries += method == "POST"
            self._pause()

    def _attempt(self, method: str, path: str, body: str, headers: dict[str, str]) -> tuple[str, Answer | None]:
        """Send once. Return the outcome, and the response unless it is a fault."""
        answer = None
        try:
            answer = self._send(method, path, body, headers)
            outcome = _outcome(answer)
        except ConnectionRefusedError:
            outcome = "connection refused"
        except TimeoutError:
            outcome = "timed out"
        except (OSError, HTTPException):
            outcome = "connection lost"
        if answer is None:
            self._disconnect()
        self._ledger.count(outcome if method == "POST" else f"page {outcome}")
        if outcome not in TRANSIENT | {"200", "201", "201 replayed", "303"}:
            self._ledger.faults.append(f"{method} {path}: {outcome} {answer.body[:300] if answer else ''}")
            answer = None
        return outcome, answer

    def _send(self, method: str, path: str, body: str, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            self._connection = _connection(self._address())
            self._connection.connect()
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        answer = Answer(response.status, dict(response.headers), response.read().decode())
        if response.headers["Connection"] == "close":
            self._disconnect()  # http.client would connect to the same address again, which may have stopped
        return answer

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def _key(self) -> str:
        return str(UUID(int=self._random.getrandbits(128)))

    def _pause(self) -> None:
        time.sleep(self._random.uniform(0.05, 0.5))  # shorter than Retry-After


@contextmanager
def submitting(address: Callable[[], str], seed: str, clients: int, **weights: int) -> Iterator[Ledger]:
    """Let clients submit numbers, batches and forms, with keys and without, until the block ends."""
    ledger = Ledger()
    threads = [Client(ledger, address, f"{seed} {index}", **weights) for index in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        ledger.closed.set()
        for thread in threads:
            thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)


def _connection(address: str) -> HTTPConnection:
    scheme, host, *_ = urlsplit(address)
    if scheme == "https":
        return HTTPSConnection(host, timeout=RESPONSE_TIMEOUT_SECONDS, context=TRUSTING)
    return HTTPConnection(host, timeout=RESPONSE_TIMEOUT_SECONDS)


def _ids(submissions: list[Any]) -> list[tuple[int, int]]:
    return [(each["id"], each["number"]) for each in submissions]


def _outcome(answer: Answer) -> str:
    if "problem+json" in answer.headers.get("Content-Type", ""):
        return f"{answer.status} {answer.json()['type'].partition('#')[2]}"
    if answer.status == 409:
        return "409 key-in-progress"
    if answer.status == 503:  # a page
        outcomes = {
            "This request recorded nothing": "not-recorded",
            "may or may not have been recorded": "outcome-unknown",
        }
        return next((f"503 {outcome}" for text, outcome in outcomes.items() if text in answer.body), "503 unavailable")
    return f"{answer.status} replayed" if "Idempotency-Replayed" in answer.headers else str(answer.status)
