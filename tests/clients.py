"""Clients that retry until they get an acknowledgement, and a ledger to compare with the log."""

import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any
from uuid import UUID

import httpx
import psycopg

from tests.service import TRUSTING

RESPONSE_TIMEOUT_SECONDS = 60  # all timeouts of the service are much shorter
ERRORS: dict[type[Exception], str] = {httpx.ConnectError: "connection refused", httpx.TimeoutException: "timed out"}
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
logging.getLogger("httpx").setLevel(logging.WARNING)  # each request is in its log


class Ledger:
    """Record of all submissions and their outcomes, shared by all clients. Each submission has numbers of its own."""

    def __init__(self) -> None:
        self.closed = threading.Event()  # stops new submissions
        self.outcomes: Counter[str] = Counter()
        self.retries = 0
        self.faults: list[str] = []
        self.recorded: Counter[int] = Counter()  # how often a number was acknowledged
        self.uncertain: set[int] = set()  # sent once, without a response that tells whether it was recorded
        self.ids: list[tuple[int, int]] = []  # in responses, with their numbers
        self.keys: dict[str, list[int]] = {}  # in the service's format, with their numbers
        self.next_number = itertools.count(1).__next__
        self._guard = threading.Lock()

    @property
    def acknowledged(self) -> int:
        return sum(self.outcomes[outcome] for outcome in ("201", "201 replayed", "303"))

    def count(self, outcome: str) -> None:
        with self._guard:
            self.outcomes[outcome] += 1

    def acknowledge(self, numbers: list[int], submissions: Iterable[Any] = (), key: str = "") -> None:
        with self._guard:
            self.recorded.update(numbers)
            self.ids += [(each["id"], each["number"]) for each in submissions]
            if key:
                self.keys[key] = numbers

    def compare(self, database: psycopg.Connection[Any]) -> list[str]:
        """Return a description of each fault, including differences between this ledger and the log."""
        log = dict(database.execute("SELECT id, number FROM fizzbuzz_submission").fetchall())
        counted = Counter(log.values())
        kept = database.execute("SELECT key, submissions FROM fizzbuzz_idempotencykey")
        of_key = {key: [log.get(id_) for id_ in ids] for key, ids in kept}
        wrong = {
            "lost": [*(self.recorded - counted)],
            "not sent, or recorded again": [*(counted - self.recorded - Counter(self.uncertain))],
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
        self._http = httpx.Client(timeout=RESPONSE_TIMEOUT_SECONDS, verify=TRUSTING, trust_env=False)

    def run(self) -> None:
        kinds = (self._single, self._batch, self._form, self._without_key)
        while not self._ledger.closed.is_set():
            # New connections now and then, so that every worker gets some.
            self._http.headers["Connection"] = self._random.choices(("keep-alive", "close"), (49, 1))[0]
            self._random.choices(kinds, self._weights)[0]()
        self._http.close()

    def _single(self) -> None:
        number, key = self._ledger.next_number(), self._key()
        answer = self._persist("POST", "/api/fizzbuzz", json={"number": number}, headers={"Idempotency-Key": key})
        if answer:
            self._ledger.acknowledge([number], [answer.json()], f"api:{key}")

    def _batch(self) -> None:
        own = [self._ledger.next_number() for _ in range(self._random.randint(1, 20))]
        numbers, key = [*own, *self._random.choices(own, k=5)], self._key()
        answer = self._persist(
            "POST", "/api/fizzbuzz/batch", json={"numbers": numbers}, headers={"Idempotency-Key": key}
        )
        if answer:
            self._ledger.acknowledge(numbers, answer.json(), f"batch:{key}")

    def _form(self) -> None:
        number, key = self._ledger.next_number(), self._key()
        if self._persist("GET", "/") and self._persist("POST", "/", data={"number": number, "key": key}):
            self._ledger.acknowledge([number], key=f"form:{key}:{number}")

    def _without_key(self) -> None:
        number = self._ledger.next_number()
        outcome, answer = self._attempt("POST", "/api/fizzbuzz", json={"number": number})
        if answer and outcome == "201":
            self._ledger.acknowledge([number], [answer.json()])
            return
        if outcome not in NEVER_SENT:
            self._ledger.uncertain.add(number)
        self._pause()

    def _persist(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        """Send until the outcome is final, and return the response; None after a fault."""
        while True:
            outcome, answer = self._attempt(method, path, **content)
            if outcome not in TRANSIENT:
                return answer
            self._ledger.retries += method == "POST"
            self._pause()

    def _attempt(self, method: str, path: str, **content: Any) -> tuple[str, httpx.Response | None]:
        """Send once. Return the outcome, and the response unless it is a fault."""
        answer = None
        try:
            answer = self._http.request(method, self._address() + path, **content)
            outcome = _outcome(answer)
        except httpx.TransportError as error:
            outcome = next((text for kind, text in ERRORS.items() if isinstance(error, kind)), "connection lost")
        self._ledger.count(outcome if method == "POST" else f"page {outcome}")
        if outcome not in TRANSIENT | {"200", "201", "201 replayed", "303"}:
            self._ledger.faults.append(f"{method} {path}: {outcome} {answer.text[:300] if answer else ''}")
            answer = None
        return outcome, answer

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


def _outcome(answer: httpx.Response) -> str:
    if "problem+json" in answer.headers.get("Content-Type", ""):
        return f"{answer.status_code} {answer.json()['type'].partition('#')[2]}"
    if answer.status_code == 409:
        return "409 key-in-progress"
    if answer.status_code == 503:  # a page
        outcomes = {
            "This request recorded nothing": "not-recorded",
            "may or may not have been recorded": "outcome-unknown",
        }
        return next((f"503 {outcome}" for text, outcome in outcomes.items() if text in answer.text), "503 unavailable")
    return f"{answer.status_code} replayed" if "Idempotency-Replayed" in answer.headers else str(answer.status_code)
