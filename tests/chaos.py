"""`python -m tests.chaos`: kill random parts of the service under load, and then check the log.

Prints a report, and exits with 1 if anything was lost, duplicated, or left behind. A seed repeats the plan of the
kills and of the submissions, but not their timing.
"""

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import psycopg

from fizzbuzz_site.embedded.server import DATABASE, USER, EmbeddedError, Server
from tests.clients import Client, Ledger
from tests.service import Service, children, collect_static, eventually, manage, processes

CLIENTS = 8
MAX_MEMORY_GROWTH = 1.10  # of a worker, in the last two thirds of the steady phase
# Weights of the random choice.
PARTS = {"worker": 4, "all workers": 1, "master": 2, "postmaster": 3, "backend": 3, "cache": 3}


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the report


class World:
    """All parts of the service. They are killed, and restarted as a supervisor would."""

    def __init__(self, data_dir: Path, random: Random) -> None:
        self.kills: Counter[str] = Counter()
        self._random = random
        self._data_dir = data_dir
        self._output: list[str] = []
        self._server = Server(data_dir)
        self._redis: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._redis_port = free.getsockname()[1]
        self._start_database()
        self._start_cache()
        self._start_service()

    @property
    def address(self) -> str:
        return self._service.address

    @property
    def host(self) -> str:
        return self._server.host

    @property
    def last_output(self) -> list[str]:
        return self._output[-40:]

    def workers(self) -> list[int]:
        return children(self._service.process.pid)

    def strike(self) -> None:
        """Kill one part or two at once, and restart those that nothing else restarts after a pause."""
        parts = set(self._random.choices(list(PARTS), list(PARTS.values()), k=self._random.choice([1, 1, 2])))
        for part in sorted(parts):
            pids = self._pids(part)
            for pid in pids:
                _kill(pid)
            self.kills[part] += bool(pids)
        time.sleep(self._random.choice([0, 0, 0.5, 2]))
        if "cache" in parts:
            self._start_cache()
        if "postmaster" in parts:
            self._start_database()
        if "master" in parts:
            self._service.process.wait()
            self._start_service()

    def stop(self) -> int:
        """Stop all parts. Return gunicorn's exit code."""
        self._service.process.terminate()
        code = self._service.process.wait(timeout=60)
        self._server.release()
        if self._redis:
            self._redis.terminate()
            self._redis.wait()
        return code

    def _pids(self, part: str) -> list[int]:
        if part == "master":
            return [self._service.process.pid]
        if part == "cache":
            return [self._redis.pid] if self._redis else []
        if part.endswith(("worker", "workers")):
            pids = self.workers()
        else:
            postmaster = int((self._server.home / "data/postmaster.pid").read_text().partition("\n")[0])
            pids = [postmaster] if part == "postmaster" else children(postmaster)
        return pids if part == "all workers" else pids and [self._random.choice(pids)]

    def _start_cache(self) -> None:
        if not (program := shutil.which("redis-server")):
            return
        if self._redis:
            self._redis.wait()
        options = ("--bind", "127.0.0.1", "--port", str(self._redis_port), "--save", "", "--dir", str(self._data_dir))
        self._redis = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)

    def _start_database(self) -> None:
        def started() -> bool:
            self._server.release()
            try:
                self._server.acquire()
            except EmbeddedError:  # a backend of the killed server is still alive
                return False
            return True

        assert eventually(started)

    def _start_service(self) -> None:
        cache = {"REDIS_URL": f"redis://127.0.0.1:{self._redis_port}/0", "RATE_LIMIT": "10000000/minute"}
        self._service = Service(DATA_DIR=str(self._data_dir), **(cache if self._redis else {}))
        for stream in (self._service.process.stdout, self._service.process.stderr):
            threading.Thread(target=self._output.extend, args=(stream,), daemon=True).start()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def storm(world: World, random: Random, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(random.uniform(0.2, 3))
        world.strike()


def steady(world: World, seconds: float) -> list[str]:
    """Keep the load without kills. Return the faults of the workers' memory."""
    assert eventually(lambda: len(world.workers()) == 2)
    time.sleep(seconds / 3)
    first = {pid: _resident_mib(pid) for pid in world.workers()}
    time.sleep(seconds * 2 / 3)
    last = {pid: _resident_mib(pid) for pid in world.workers()}
    for pid, size in first.items():
        say(f"memory of a worker, MiB: {size:.1f} after the first third, {last.get(pid, 0):.1f} at the end")
    if first.keys() != last.keys():
        return ["a worker ended without being killed"]
    return ["a worker's memory grew" for pid, size in first.items() if last[pid] > size * MAX_MEMORY_GROWTH]


def run(data_dir: Path, seed: int, seconds: float, quiet: float) -> list[str]:
    random, ledger = Random(seed), Ledger()  # noqa: S311 - a plan, not a secret
    world = World(data_dir, random)
    clients = [Client(ledger, lambda: world.address, f"{seed}/{index}") for index in range(CLIENTS)]
    for client in clients:
        client.start()
    storm(world, random, seconds)
    wrong = steady(world, quiet)
    ledger.closed.set()
    for client in clients:
        client.join(timeout=60)
    wrong += ["a submission never got a response" for client in clients if client.is_alive()]

    verified = manage("top_numbers", "--verify", DATA_DIR=str(data_dir)).communicate()
    wrong += [] if verified == ("All counts match the log.\n", "") else ["verify: " + "".join(verified)]
    with psycopg.connect(host=world.host, user=USER, dbname=DATABASE) as database:
        wrong += ledger.compare(database)
    if code := world.stop():
        wrong.append(f"gunicorn's exit code was {code}")
    if not eventually(lambda: not processes(data_dir)):
        wrong.append(f"processes were left behind: {processes(data_dir)}")

    rows = sum(bounds.least for bounds in ledger.expected.values())
    say(f"submissions acknowledged: {ledger.acknowledged}, with {rows} rows; retries: {ledger.retries}")
    say(f"kills: {_listed(world.kills)}")
    say(f"responses: {_listed(ledger.outcomes)}")
    return wrong + ([f"the service's output: {line.rstrip()}" for line in world.last_output] if wrong else [])


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="repeats a plan")
    parser.add_argument("--seconds", type=float, default=120, help="of kills")
    parser.add_argument("--steady", type=float, default=60, help="seconds without kills, after them")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    if not shutil.which("redis-server"):
        say("redis-server is not installed: runs without Redis")
    collect_static()
    base = Path(tempfile.mkdtemp(prefix="fizzbuzz chaos "))
    base.chmod(0o711)  # started by root, PostgreSQL runs as another user
    try:
        wrong = run(base / "var", options.seed, options.seconds, options.steady)
    finally:
        for pid in processes(base):  # only after an interruption
            _kill(pid)
        shutil.rmtree(base, ignore_errors=True)
    say("\n".join(wrong) or "Nothing was lost, counted twice or left behind.")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
