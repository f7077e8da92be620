"""`python -m tests.chaos`: kill random parts of the service under load, and then check the log.

Prints a report, and exits with 1 if anything was lost, duplicated, or left behind. A seed repeats the plan of the
kills and of the submissions, but not their timing.
"""

import argparse
import os
import secrets
import shutil
import signal
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
from tests.cache import PROGRAM, Cache
from tests.clients import submitting
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
        self.output: list[str] = []
        self.server = Server(data_dir)
        self._random = random
        self._data_dir = data_dir
        self._start_database()
        self._cache = Cache(data_dir) if PROGRAM else None
        self._start_service()

    def workers(self) -> list[int]:
        return children(self.service.process.pid)

    def strike(self) -> None:
        """Kill one part or two at once, and restart those that nothing else restarts after a pause."""
        parts = set(self._random.choices(list(PARTS), list(PARTS.values()), k=self._random.choice([1, 1, 2])))
        for part in sorted(parts):
            pids = self._pids(part)
            for pid in pids:
                _kill(pid)
            self.kills[part] += bool(pids)
        time.sleep(self._random.choice([0, 0, 0.5, 2]))
        if "cache" in parts and self._cache:
            self._cache.process.wait()
            self._cache.start()
        if "postmaster" in parts:
            self._start_database()
        if "master" in parts:
            self.service.process.wait()
            self._start_service()

    def stop(self) -> int:
        """Stop all parts. Return gunicorn's exit code."""
        self.service.process.terminate()
        code = self.service.process.wait(timeout=60)
        self.server.release()
        if self._cache:
            self._cache.kill()
        return code

    def _pids(self, part: str) -> list[int]:
        if part == "master":
            return [self.service.process.pid]
        if part == "cache":
            return [self._cache.process.pid] if self._cache else []
        if part == "all workers":
            return self.workers()
        postmaster = int((self.server.home / "data/postmaster.pid").read_text().partition("\n")[0])
        if part == "postmaster":
            return [postmaster]
        pids = self.workers() if part == "worker" else children(postmaster)
        return pids and [self._random.choice(pids)]

    def _start_database(self) -> None:
        def started() -> bool:
            self.server.release()
            try:
                self.server.acquire()
            except EmbeddedError:  # a backend of the killed server is still alive
                return False
            return True

        assert eventually(started)

    def _start_service(self) -> None:
        cache = {"REDIS_URL": self._cache.url, "RATE_LIMIT": "10000000/minute"} if self._cache else {}
        self.service = Service(DATA_DIR=str(self._data_dir), **cache)
        for stream in (self.service.process.stdout, self.service.process.stderr):
            threading.Thread(target=self.output.extend, args=(stream,), daemon=True).start()


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
    random = Random(seed)  # noqa: S311 - a plan, not a secret
    world = World(data_dir, random)
    with submitting(lambda: world.service.address, str(seed), CLIENTS) as ledger:
        storm(world, random, seconds)
        wrong = steady(world, quiet)

    verified = manage("top_numbers", "--verify", DATA_DIR=str(data_dir)).communicate()
    wrong += [] if verified == ("All counts match the log.\n", "") else ["verify: " + "".join(verified)]
    with psycopg.connect(host=world.server.host, user=USER, dbname=DATABASE) as database:
        wrong += ledger.compare(database)
    if code := world.stop():
        wrong.append(f"gunicorn's exit code was {code}")
    if not eventually(lambda: not processes(data_dir)):
        wrong.append(f"processes were left behind: {processes(data_dir)}")

    recorded = ledger.recorded.total()
    say(f"submissions acknowledged: {ledger.acknowledged}, with {recorded} rows; retries: {ledger.retries}")
    say(f"kills: {dict(world.kills)}")
    say(f"responses: {dict(ledger.outcomes)}")
    return wrong + ([f"the service's output: {line.rstrip()}" for line in world.output[-40:]] if wrong else [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="repeats a plan")
    parser.add_argument("--seconds", type=float, default=120, help="of kills")
    parser.add_argument("--steady", type=float, default=60, help="seconds without kills, after them")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    if not PROGRAM:
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
