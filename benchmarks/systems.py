"""The service and its peers, each run as two worker processes on one port of 127.0.0.1."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from tempfile import TemporaryFile

from benchmarks.postgres import ROOT, Postgres

OURS, BARE, USUAL, LIMIT, COPY = "ours", "bare", "usual", "limit", "copy"
PAGE = "page"  # USUAL with a first page
BEFORE = "before"  # this service of another commit
BEFORE_FOLDER = os.environ.get("BEFORE", "")  # where that is checked out, with its .venv; unset: it is not measured
SERVED = (OURS, BARE, USUAL)
TITLES = {
    OURS: "this service",
    BARE: "bare FastAPI",
    USUAL: "usual FastAPI",
    LIMIT: "the INSERT alone",
    COPY: r"psql's `\copy`",
    PAGE: "FastAPI page",
    BEFORE: "earlier release",
}
PEERS_PYTHON = os.environ.get("PEERS_PYTHON", ".venv-bench/bin/python")
START_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Running:
    """A system that answers at `port`; `started_in` seconds."""

    name: str
    database: str
    port: int
    pid: int
    started_in: float


@contextmanager
def running(postgres: Postgres, name: str, database: str, **more: str) -> Iterator[Running]:
    """Start a system, with `more` in its environment, and end it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = postgres.environment(database) | {"PORT": str(port), "WEB_CONCURRENCY": "2", **more}
    begun = time.perf_counter()
    with TemporaryFile("w+") as log:
        folder = BEFORE_FOLDER if name == BEFORE else ROOT
        process = subprocess.Popen(_command(name, port), cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            _wait(process, port)
            yield Running(name, database, port, process.pid, time.perf_counter() - begun)
        except RuntimeError as error:
            log.seek(0)
            error.add_note(log.read()[-2000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _command(name: str, port: int) -> list[str]:
    if name in {OURS, BEFORE}:
        return [sys.executable if name == OURS else ".venv/bin/python", "manage.py", "serve"]
    uvicorn = [PEERS_PYTHON, "-m", "uvicorn", f"benchmarks.peers.{name}:app", f"--port={port}", "--workers=2"]
    return [*uvicorn, "--no-access-log", "--log-level=warning"]


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the system responds to a request for an unknown URL."""
    for _ in range(START_TIMEOUT_SECONDS * 100):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        try:
            connection = HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_SECONDS)
            connection.request("GET", "/api/nothing")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"{process.args!r} did not answer within {START_TIMEOUT_SECONDS} s")
