"""Attacks on a service: what a client without a part in them notices. `python -m benchmarks.hostile [attack …]`.

Starts the service with two workers and its own database, and nginx in front of it. While an attack runs, a probe with
another address reads /health/live on a new connection ten times per second; while batches are recorded,
/api/most_common. Prints the probe's p50, p95 and maximum, its statuses and those of the attackers, and each worker's
peak memory.
"""

import json
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.proxy import proxying
from tests.raw import post
from tests.service import children, manage, serving

SECONDS = 15  # of each attack
TIMEOUT_SECONDS = 60
PROBE = ("127.0.0.2", 0)  # limits of the attackers' address don't stop it
MIB = 1024 * 1024
JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
END = b"\r\n--x--"
API, BATCH = "/api/fizzbuzz", "/api/fizzbuzz/batch"
PART = b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\n\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'


class Request(NamedTuple):
    path: str
    media_type: str
    body: bytes = b""
    method: str = "POST"
    headers: dict[str, str] = {}


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

    def send(self, *requests: Request) -> None:
        """Send the requests again and again on one connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        for path, media_type, body, method, headers in cycle(requests):
            if not self.goes_on():
                break
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
        """Send a body of 1 MiB up to its last byte, and hold the connection: a byte each 20 s would do so."""
        while self.goes_on():
            status = b""
            with suppress(OSError), self.connect() as connection:
                connection.sendall(post(b"Content-Length: %d" % MIB) + b" " * (MIB - 1))
                connection.settimeout(max(self.ends - time.monotonic(), 0.1))
                status = connection.recv(12)[9:]
            self.statuses[status.decode() or "closed"] += 1


class Attack(NamedTuple):
    clients: int
    attack: Callable[[Target], None]
    through_nginx: bool = False
    probed: str = "/health/live"


def sends(clients: int, *requests: Request, probed: str = "/health/live") -> Attack:
    return Attack(clients, lambda target: target.send(*requests), probed=probed)


def batch(unit: bytes, size: int) -> Request:
    return Request(BATCH, JSON, b'{"numbers":[1' + (b"," + unit) * ((size - 15) // (len(unit) + 1)) + b"]}")


def in_codecs(path: str, media_type: str, body: bytes, method: str = "POST") -> list[Request]:
    return [
        Request(path, f"{media_type}; charset={codec}", body, method)
        for codec in ("zlib", "idna", "hex", "rot13", "punycode")
    ]


NUMBERS = json.dumps({"numbers": [*range(10_000)]}).encode()
ELSEWHERE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
FORMS_IN_PUNYCODE = [
    Request(API, f"{FORM}; charset=punycode", b"number=1-" + b"a" * (MIB - 9)),
    Request("/", f"{MULTIPART}; charset=punycode", FILE + b"a" * (MIB - 100) + END),
]
CODECS = [*in_codecs(f"{API}?number=15", "text/plain", b"", "GET"), *in_codecs("/", FORM, b"number=15")]
ATTACKS = {
    "1 batches of 349,000 lists": sends(4, batch(b"[]", MIB)),
    "1 batches of 262,000 objects": sends(4, batch(b"{}", MIB)),
    "2 batches of 10,000 words": sends(4, batch(b'"x"', 40_000)),
    "3 forms and parts in punycode": sends(2, *FORMS_IN_PUNYCODE),
    "4 Python's codecs": sends(2, *CODECS),
    "5 files of 60 MB": sends(2, Request("/", MULTIPART, FILE + b"a" * 60_000_000 + END)),
    "6 20,000 parts": sends(2, Request("/", MULTIPART, PART * 19_000 + b"--x--")),
    "7 OPTIONS as HTML": sends(16, Request(API, JSON, b"", "OPTIONS", {"Accept": "text/html"})),
    "8 1,100 silent connections": Attack(11, Target.hold_silent),
    "9 dripping heads": Attack(6, Target.drip_head),
    "9 dripping bodies": Attack(300, Target.drip_body),
    "11 dripping bodies to nginx": Attack(300, Target.drip_body, through_nginx=True),
    "12 forms of another site": sends(
        2, *(Request(path, FORM, b"number=15", "POST", ELSEWHERE) for path in (API, "/"))
    ),
    "10 batches of 10,000 numbers": sends(16, Request(BATCH, JSON, NUMBERS), probed="/api/most_common"),
}
QUIET = {path: Attack(0, Target.hold_silent, probed=path) for path in ("/health/live", "/api/most_common")}


def _attack(name: str, port: int) -> Counter[str]:
    target, attack = Target(port), (QUIET | ATTACKS)[name]
    threads = [threading.Thread(target=attack.attack, args=[target], daemon=True) for _ in range(attack.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return target.statuses


def probe(port: int, path: str) -> Iterator[tuple[float, int]]:
    """Yield milliseconds and status of each request; the status is 0 if there was no response."""
    ends = time.monotonic() + SECONDS
    while (begun := time.monotonic()) < ends:
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS, source_address=PROBE)
        status = 0
        with suppress(OSError, HTTPException):
            connection.request("GET", path)
            status = connection.getresponse().status
        connection.close()
        yield (time.monotonic() - begun) * 1000, status
        time.sleep(max(0.1 - (time.monotonic() - begun), 0))


def run(name: str, attack: Attack, master: int, port: int) -> None:
    """Run an attack, and print a line of the table."""
    workers = children(master)
    for pid in workers:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak
    with ProcessPoolExecutor(1) as pool:  # another process: the probe must not wait for the attackers' threads
        attackers = pool.submit(_attack, name, port)
        probes = list(probe(port, attack.probed))
        outcomes = dict(attackers.result())
    taken, statuses = [each for each, _ in probes], dict(Counter(status for _, status in probes))
    cuts, peaks = quantiles(taken, n=20), [f"{_peak_mib(pid):.0f}" for pid in workers]
    figures = f"p50 {cuts[9]:7.1f}  p95 {cuts[18]:7.1f}  max {max(taken):8.1f} ms  workers' peaks {' '.join(peaks)} MiB"
    print(f"{name:29} {figures}  {statuses}  attackers {outcomes}", flush=True)
    if workers != children(master):
        print(f"    workers killed: {len({*workers} - {*children(master)})}", flush=True)
    time.sleep(2)  # for what it left


def _peak_mib(pid: int) -> float:
    with suppress(FileNotFoundError):
        status = Path(f"/proc/{pid}/status").read_text()
        return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return 0


def main() -> None:
    attacks = {name: ATTACKS[name] for name in sys.argv[1:] or ATTACKS}
    with tempfile.TemporaryDirectory() as data_dir:
        Path(data_dir).chmod(0o711)  # started by root, PostgreSQL runs as another user
        manage("migrate", DATA_DIR=data_dir).communicate()
        with serving(DATA_DIR=data_dir, WEB_CONCURRENCY="2", LOG_LEVEL="error") as service:
            port = urlsplit(service.address).port or 0
            with proxying(port) as proxy:
                for name, attack in (QUIET | attacks).items():
                    run(name, attack, service.process.pid, proxy.port if attack.through_nginx else port)


if __name__ == "__main__":
    main()
