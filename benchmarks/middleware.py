"""The CPU time that each middleware adds to a submission: `benchmarks cost` runs this in its own process.

Prints {name: [µs of CPU per request, one per round]}, for all middleware together and for all but the named one.
"""

import json
import sys
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

TURNS, REQUESTS = 60, 8  # of each in a round; in a turn
BODY = b'{"number": 15}'
ENVIRON = {
    "REQUEST_METHOD": "POST",
    "PATH_INFO": "/api/fizzbuzz",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "localhost",
    "CONTENT_TYPE": "application/json",
    "CONTENT_LENGTH": str(len(BODY)),
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
}


def measure(rounds: int) -> dict[str, list[float]]:
    whole = list(settings.MIDDLEWARE)
    handlers = {"all": _handler(whole)}
    handlers |= {name: _handler([each for each in whole if each != name]) for name in whole}
    taken: dict[str, list[float]] = {name: [] for name in handlers}
    for _ in range(rounds):
        turns = [{name: _submit(handler) for name, handler in handlers.items()} for _ in range(TURNS)]
        for name in handlers:
            # Disturbances only add time, so the fastest tenth of many short runs is the cost of the code.
            taken[name].append(sorted(turn[name] for turn in turns)[TURNS // 10])
    return taken


def _handler(middleware: list[str]) -> WSGIHandler:
    settings.MIDDLEWARE = middleware
    return WSGIHandler()


def _submit(handler: WSGIHandler) -> float:
    begun = time.process_time()
    for _ in range(REQUESTS):
        response = handler({**ENVIRON, "wsgi.input": BytesIO(BODY)}, _start_response)
        b"".join(response)
        response.close()
    return (time.process_time() - begun) / REQUESTS * 1e6


def _start_response(status: str, headers: Any, error: Any = None) -> Callable[[bytes], object]:
    if not status.startswith("201"):
        raise RuntimeError(status)
    return sys.stdout.buffer.write  # required by WSGI, but not used


if __name__ == "__main__":
    django.setup()
    print(json.dumps(measure(int(sys.argv[1]))))
