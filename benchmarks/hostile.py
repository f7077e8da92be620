"""Attacks on a service: what a client without a part in them notices. `python -m benchmarks.hostile [attack …]`.

Starts the service with two workers and its own database. While an attack runs, a probe reads /health/live on a new
connection ten times per second; while batches are recorded, /api/most_common. Prints the probe's p50, p95 and maximum
beside the quiet ones, its statuses and those of the attackers, and the peak memory of a worker.
"""

import json
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from multiprocessing import Process, SimpleQueue
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.raw import post
from tests.service import Service, children, manage

SECONDS = 15  # of each attack
TIMEOUT_SECONDS = 60
MIB = 1024 * 1024
JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
END = b"\r\n--x--"
BATCH = "/api/fizzbuzz/batch"
PART = b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'


class Target:
    """The attacked service, and what its attackers got."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ends = time.monotonic() + SECONDS
        self.statuses: Counter[str] = Counter()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), TIMEOUT_SECONDS)

    def goes_on(self) -> bool:
        return time.monotonic() < self.ends

    def post(self, path: str, media_type: str, body: bytes, method: str = "POST", **headers: str) -> None:
        """Send the request again and again on one connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        while self.goes_on():
            try:
                connection.request(method, path, body, {"Content-Type": media_type, **headers})
                response = connection.getresponse()
                response.read()
                self.statuses[str(response.status)] += 1
            except (OSError, HTTPException) as error:
                self.statuses[type(error).__name__] += 1
                connection.close()
        connection.close()

    def hold_silent(self) -> None:
        """Keep 100 connections open without a request, and replace those that are closed."""
        open_: list[socket.socket] = []
        while self.goes_on():
            with suppress(OSError):
                while len(open_) < 100:
                    open_.append(self.connect())
            for connection in list(open_):
                connection.settimeout(0)
                with suppress(BlockingIOError, ConnectionError):
                    if connection.recv(1) == b"":
                        open_.remove(connection)
                        connection.close()
                        self.statuses["closed"] += 1
            time.sleep(0.1)

    def drip_head(self) -> None:
        """Send a head of 480 KB at once, and then byte by byte."""
        while self.goes_on():
            with suppress(OSError), self.connect() as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost" + (b"\r\nX: " + b"x" * 8_000) * 60)
                while self.goes_on():
                    connection.sendall(b"x")
            self.statuses["closed"] += 1

    def drip_body(self) -> None:
        """Send a body of 1 MiB up to its last byte, and hold the connection."""
        while self.goes_on():
            with suppress(OSError), self.connect() as connection:
                connection.sendall(post(b"Content-Length: %d" % MIB) + b" " * (MIB - 1))
                connection.settimeout(max(self.ends - time.monotonic(), 0.1))
                connection.recv(1)
            self.statuses["closed"] += 1


class Attack(NamedTuple):
    clients: int
    attack: Callable[[Target], None]


def _post(path: str, media_type: str, body: bytes, method: str = "POST", **headers: str) -> Callable[[Target], None]:
    return lambda target: target.post(path, media_type, body, method, **headers)


def _batch(unit: bytes, size: int) -> bytes:
    return b'{"numbers":[1' + (b"," + unit) * ((size - 15) // (len(unit) + 1)) + b"]}"


NUMBERS = json.dumps({"numbers": [*range(10_000)]}).encode()
CODED = FORM + "; charset=punycode"
ATTACKS = {
    "batches of 349,000 lists": Attack(4, _post(BATCH, JSON, _batch(b"[]", MIB))),
    "batches of 262,000 objects": Attack(4, _post(BATCH, JSON, _batch(b"{}", MIB))),
    "batches of 10,000 words": Attack(4, _post(BATCH, JSON, _batch(b'"x"', 40_000))),
    "forms in punycode": Attack(2, _post("/api/fizzbuzz", CODED, b"number=1-" + b"a" * (MIB - 9))),
    "parts in punycode": Attack(2, _post("/", MULTIPART + "; charset=punycode", FILE + b"a" * (MIB - 100) + END)),
    "a query in zlib": Attack(2, _post("/api/fizzbuzz?number=15", "text/plain; charset=zlib", b"", "GET")),
    "files of 60 MB": Attack(2, _post("/", MULTIPART, FILE + b"a" * 60_000_000 + END)),
    "20,000 parts": Attack(2, _post("/", MULTIPART, PART * 19_000 + b"--x--")),
    "OPTIONS as HTML": Attack(16, _post("/api/fizzbuzz", JSON, b"", "OPTIONS", Accept="text/html")),
    "1,100 silent connections": Attack(11, Target.hold_silent),
    "dripping heads": Attack(6, Target.drip_head),
    "dripping bodies": Attack(300, Target.drip_body),
    "batches of 10,000 numbers": Attack(16, _post(BATCH, JSON, NUMBERS)),
}


def _attack(name: str, port: int, got: SimpleQueue[Counter[str]]) -> None:
    target, attack = Target(port), ATTACKS.get(name, Attack(0, Target.drip_head))
    threads = [threading.Thread(target=attack.attack, args=[target], daemon=True) for _ in range(attack.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got.put(target.statuses)


def probe(port: int, path: str, ends: float, taken: list[float], statuses: Counter[int]) -> None:
    while time.monotonic() < ends:
        begun = time.monotonic()
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path)
            statuses[connection.getresponse().status] += 1
        except (OSError, HTTPException):
            statuses[0] += 1
        connection.close()
        taken.append((time.monotonic() - begun) * 1000)
        time.sleep(max(0.1 - (time.monotonic() - begun), 0))


def run(service: Service, name: str) -> str:
    """Run an attack; return a line of a table."""
    port = urlsplit(service.address).port or 0
    reads = "/api/most_common" if "numbers" in name else "/health/live"
    taken: list[float] = []
    statuses: Counter[int] = Counter()
    got: SimpleQueue[Counter[str]] = SimpleQueue()
    attackers = Process(target=_attack, args=(name, port, got))  # not threads: the probe must not wait for them
    attackers.start()
    probe(port, reads, time.monotonic() + SECONDS, taken, statuses)
    outcomes = dict(got.get())
    attackers.join()
    cuts = quantiles(taken, n=20)
    peak = max(_peak_mib(pid) for pid in children(service.process.pid))
    figures = f"p50 {cuts[9]:7.1f}  p95 {cuts[18]:7.1f}  max {max(taken):8.1f} ms  peak {peak:4.0f} MiB"
    return f"{name:28} {figures}  {reads} {dict(statuses)}  attackers {outcomes}"


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def main() -> None:
    names = sys.argv[1:] or [*ATTACKS]
    for name in names:
        with tempfile.TemporaryDirectory() as data_dir:
            Path(data_dir).chmod(0o711)  # started by root, PostgreSQL runs as another user
            manage("migrate", DATA_DIR=data_dir).communicate()
            service = Service(DATA_DIR=data_dir, WEB_CONCURRENCY="2", LOG_LEVEL="error")
            workers = set(children(service.process.pid))
            print(run(service, "quiet"), flush=True)
            print(run(service, name), flush=True)
            print(f"    workers killed: {len(workers - set(children(service.process.pid)))}", flush=True)
            service.stop()


if __name__ == "__main__":
    main()
