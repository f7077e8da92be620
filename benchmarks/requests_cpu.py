"""CPU time of each page and read in one process, without gunicorn. `benchmarks cpu` runs this.

As in a worker, gevent is in place, connections come from the pool, and metrics are counted in shared memory.
Prints {case: [µs of CPU a request, one for each round]}.
"""

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import json  # after gevent has patched the standard library, as in a worker
import os
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

TURNS, REQUESTS = 40, 5  # of each case in a round; in a turn
COMMON = {
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "localhost",
    "HTTP_ACCEPT": "*/*",
    "HTTP_USER_AGENT": "benchmarks",
    "HTTP_ACCEPT_ENCODING": "gzip",
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
}
PAGE_FLOOR, API_FLOOR, PROBE = "constant page", "constant API answer", "/health/live"
CHANGED = "/numbers/15, submitted since"
POST = "POST /api/fizzbuzz"
URLS = {PAGE_FLOOR: "/floor", API_FLOOR: "/api/floor", CHANGED: "/numbers/15", POST: "/api/fizzbuzz"}
PAGES = ("/", "/live", "/stats", "/numbers/15", CHANGED)
READS = ("/api/most_common", "/api/numbers/15", "/api/fizzbuzz")
CASES = (PROBE, PAGE_FLOOR, API_FLOOR, *PAGES, *READS, POST)
# What each is compared with.
FLOORS = {
    **dict.fromkeys((PROBE, PAGE_FLOOR, API_FLOOR), PROBE),
    **dict.fromkeys(PAGES, PAGE_FLOOR),
    **dict.fromkeys((*READS, POST), API_FLOOR),
}

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


def application() -> Application:
    """Return the application that the workers serve, with the constant views beside its own."""
    os.environ.setdefault("FIZZBUZZ_SERVED_AT", "http://localhost")  # as served: with a pool
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    from fizzbuzz_site.serving import worker_metrics  # noqa: PLC0415 - allocated before Django's settings install it

    worker_metrics.slots.append(worker_metrics.Slot())
    worker_metrics.slots[0].use()
    from fizzbuzz_site import wsgi  # noqa: PLC0415

    return wsgi.application


def measure(serve: Application, rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(rounds):
        turns = [{case: _turn(serve, case) for case in CASES} for _ in range(TURNS)]
        for case in CASES:
            # Other processes can only add time, so the minimum of many short turns is the closest to the code's own.
            taken[case].append(min(turn[case] for turn in turns))
    return taken


def _turn(serve: Application, case: str) -> float:
    seconds = 0.0
    for _ in range(REQUESTS):
        if case == CHANGED:
            _request(serve, POST, b'{"number": 15}')
        begun = time.process_time()
        _request(serve, case)
        seconds += time.process_time() - begun
    return seconds / REQUESTS * 1e6


def _request(serve: Application, case: str, body: bytes = b'{"number": 7}') -> None:
    environ = {**COMMON, "PATH_INFO": URLS.get(case, case), "REQUEST_METHOD": "GET", "wsgi.input": BytesIO()}
    if case == POST:
        content = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
        environ |= {"REQUEST_METHOD": "POST", **content}
    response = serve(environ, _start_response)
    b"".join(response)
    response.close()


def _start_response(status: str, headers: Any, error: Any = None) -> Callable[[bytes], object]:
    if not status.startswith("20"):
        raise RuntimeError(status)
    return sys.stdout.buffer.write  # WSGI requires a write function; Django does not call it


if __name__ == "__main__":
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where the lines of the log go
    print(json.dumps(measure(application(), int(sys.argv[1]))))
