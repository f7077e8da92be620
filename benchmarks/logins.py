"""`python -m benchmarks.logins`: how password guessing slows down other clients. Two minutes, only on 127.0.0.1.

Quiet and busy turns alternate; ten clients guess in the busy ones, each time under a new name and IP address.
"""

import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode, urlsplit

ROUNDS, TURN_SECONDS, GUESSERS = 4, 12, 10
PACE_SECONDS = 0.005  # between the requests of the measured client: some 570 of each kind in a turn
REQUESTS = {
    "GET /health/live": ("GET", "/health/live", None),
    "GET /api/most_common": ("GET", "/api/most_common", None),
    "POST /api/fizzbuzz": ("POST", "/api/fizzbuzz", json.dumps({"number": 15})),
}
TOKEN = "a" * 32


def main() -> None:
    taken: dict[str, dict[bool, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    statuses: Counter[int] = Counter()
    with serving() as (host, port), ProcessPoolExecutor(1) as other:  # not to measure this process' GIL
        for turn in range(ROUNDS):
            for busy in (False, True):
                guesses = other.submit(guess_for, TURN_SECONDS + 1, host, port, turn << 16) if busy else None
                for name, milliseconds in measured(host, port).items():
                    taken[name][busy].append(milliseconds)
                if guesses:
                    statuses += guesses.result()
    print(f"{'':24}{'quiet p50':>10}{'p99':>8}{'busy p50':>10}{'p99':>8}   ms; p99 busy ÷ quiet, median of rounds")
    for name, turns in taken.items():
        figures = [f"{statistics.median(map(rank, turns[busy])):8.2f}" for busy in (False, True) for rank in (p50, p99)]
        ratio = statistics.median(p99(b) / p99(q) for q, b in zip(turns[False], turns[True], strict=True))
        print(f"{name:24}", *figures, f"   {ratio:.2f} ×")
    print("guesses by status:", dict(statuses))


def p50(milliseconds: list[float]) -> float:
    return statistics.median(milliseconds)


def p99(milliseconds: list[float]) -> float:
    return statistics.quantiles(milliseconds, n=100)[98]


def measured(host: str, port: int) -> dict[str, list[float]]:
    """Return the milliseconds of each response to one client, by request."""
    connection = HTTPConnection(host, port, timeout=30)
    taken: dict[str, list[float]] = {name: [] for name in REQUESTS}
    end = time.monotonic() + TURN_SECONDS
    while time.monotonic() < end:
        for name, (method, path, body) in REQUESTS.items():
            begun = time.perf_counter()
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            if response.status not in {200, 201}:
                raise RuntimeError(f"{name} answered {response.status}")
            taken[name].append(1000 * (time.perf_counter() - begun))
            time.sleep(PACE_SECONDS)
    return taken


def guess_for(seconds: float, host: str, port: int, first: int) -> Counter[int]:
    """Guess in GUESSERS threads, and return the number of responses by status."""
    names, end = itertools.count(first), time.monotonic() + seconds
    with ThreadPoolExecutor(GUESSERS) as threads:
        return sum(threads.map(guess, *zip(*[(host, port, names, end)] * GUESSERS, strict=True)), Counter())


def guess(host: str, port: int, names: Iterator[int], end: float) -> Counter[int]:
    statuses: Counter[int] = Counter()
    while time.monotonic() < end:
        turn = next(names)
        form = {"username": f"name {turn}", "password": "guess", "csrfmiddlewaretoken": TOKEN}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"csrftoken={TOKEN}",
            "X-Forwarded-For": f"10.{turn >> 16 & 255}.{turn >> 8 & 255}.{turn & 255}",
        }
        connection = HTTPConnection(host, port, timeout=60)
        connection.request("POST", "/admin/login/", urlencode(form), headers)
        statuses[connection.getresponse().status] += 1
        connection.close()
    return statuses


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    with tempfile.TemporaryDirectory(prefix="fizzbuzz-logins-") as folder:
        Path(folder).chmod(0o711)  # started by root, PostgreSQL runs as another user
        environment = {**os.environ, "DATA_DIR": f"{folder}/var", "PORT": "0", "TRUSTED_PROXIES": "127.0.0.1"}
        command = [sys.executable, "manage.py", "serve"]
        service = subprocess.Popen(
            command,
            env={**environment, "LOG_LEVEL": "warning"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            address = urlsplit(re.findall(r"http://\S+", service.stdout.readline())[0])  # type: ignore[union-attr]  # it is piped
            yield str(address.hostname), int(address.port or 0)
        finally:
            service.terminate()
            service.wait()


if __name__ == "__main__":
    main()
