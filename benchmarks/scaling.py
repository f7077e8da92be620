"""`python -m benchmarks.scaling`: what many machines would carry, simulated from costs measured on this one.

`measure` writes benchmarks/costs.json; `simulate` reads it and prints the tables of docs/scaling.md.

The model: every worker process has one core. It spends `web` CPU seconds on each submission and has one INSERT in
flight at a time, which holds all that are ready (group commit). The database has `cores`; a statement takes
`statement` CPU seconds and `row` for each row, and its commit waits for the next flush of the WAL, which all share.
Folds take `fold` CPU seconds a row from the same cores. Not modelled: lock contention inside PostgreSQL, the network,
memory, and disks that fill up.
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import simpy

from benchmarks.load import wrk
from benchmarks.postgres import Postgres, postgres
from benchmarks.processes import cpu_seconds
from benchmarks.systems import OURS, running

Events = Generator[simpy.Event, Any, None]

COSTS = Path(__file__).with_name("costs.json")
INSERT = "INSERT INTO fizzbuzz_submission (number) SELECT unnest(%s::bigint[]) RETURNING id, number, created_at"
SLICE = 0.005  # seconds; arrivals and web work are simulated in slices
SIMULATED = 2.0  # seconds, after as many to warm up
MAX_BATCH = 1_000  # as fizzbuzz's group commit


@dataclass(frozen=True)
class Costs:
    """CPU seconds on one core of the machine that measured them, if not said otherwise."""

    web: float  # a submission in a web process
    page: float  # a first page in a web process
    statement: float  # an INSERT in the database, without its rows
    row: float  # each row of it
    fold_repeated: float  # a row of the tail whose number is in the rollup and among 20
    fold_distinct: float  # a row of the tail whose number is new
    flush: float  # wall-clock seconds of one flush of the WAL
    bytes_per_row: float  # of the log with its indexes, on disk


def measure() -> Costs:
    """Measure each cost on an embedded PostgreSQL and the real service. Nothing else should be running."""
    with postgres() as server:
        databases = server.make_databases(OURS, rows=100_000)
        with running(server, OURS, databases[OURS]) as system:
            wrk(server, system, 16, 2)  # warms it up
            submission = wrk(server, system, 16, 5)
            page = wrk(server, system, 16, 5, reads=1, path="/")
        statement, row = _insert_costs(server, databases[OURS])
        return Costs(
            web=submission["cpu_ms"] / 1000,
            page=page["cpu_ms"] / 1000,
            statement=statement,
            row=row,
            fold_repeated=_fold_cost(server, databases[OURS], distinct=20),
            fold_distinct=_fold_cost(server, databases[OURS], distinct=10_000_000),
            flush=_flush_seconds(server, databases[OURS]),
            bytes_per_row=_bytes_per_row(server, databases[OURS]),
        )


def _insert_costs(server: Postgres, database: str) -> tuple[float, float]:
    """Return the cost of a statement and of a row, from batches of 1 and of 500."""
    taken = {}
    with server.connect(database) as connection:
        for rows in (1, 500):
            numbers, times = list(range(rows)), 4_000 // rows + 200
            connection.execute(INSERT, [numbers], prepare=True)
            before = cpu_seconds(server.pid)
            for _ in range(times):
                connection.execute(INSERT, [numbers], prepare=True)
            taken[rows] = (cpu_seconds(server.pid) - before) / times
    row = max(taken[500] - taken[1], 0) / 499
    return taken[1] - row, row


def _fold_cost(server: Postgres, database: str, distinct: int) -> float:
    rows = 40_000
    server.manage(database, "top_numbers", "--rebuild")
    with server.connect(database) as connection:
        connection.execute(
            "INSERT INTO fizzbuzz_submission (number) SELECT floor(random() * %s) FROM generate_series(1, %s)",
            [distinct, rows],
        )
    before = cpu_seconds(server.pid)
    server.manage(database, "shell", "--no-imports", "--command", _FOLD_ALL)
    return (cpu_seconds(server.pid) - before) / rows


_FOLD_ALL = """
from fizzbuzz.counts import folding
while folding.fold():
    pass
"""


def _flush_seconds(server: Postgres, database: str) -> float:
    """Return what a commit waits beyond its CPU time, from one client that inserts one row at a time."""
    times = 500
    with server.connect(database) as connection:
        begin, before = time.perf_counter(), cpu_seconds(server.pid)
        for _ in range(times):
            connection.execute(INSERT, [[1]], prepare=True)
        elapsed, busy = time.perf_counter() - begin, cpu_seconds(server.pid) - before
    return max(elapsed - busy, 0) / times


def _bytes_per_row(server: Postgres, database: str) -> float:
    with server.connect(database) as connection:
        ((size,),) = connection.execute(
            "SELECT pg_total_relation_size('fizzbuzz_submission')::float / count(*) FROM fizzbuzz_submission"
        )
    return float(size)


class Database:
    """Cores that statements wait for, and a WAL whose flush completes all waiting commits."""

    def __init__(self, env: simpy.Environment, costs: Costs, cores: int) -> None:
        self.env, self.costs = env, costs
        self.cores = simpy.Resource(env, cores)
        self.busy = 0.0
        self._flushed = env.event()
        env.process(self._flush())

    def insert(self, rows: int) -> Events:
        with self.cores.request() as core:
            yield core
            # The folds' share is taken with the rows that they will fold.
            seconds = self.costs.statement + rows * (self.costs.row + self.costs.fold_repeated)
            self.busy += seconds
            yield self.env.timeout(seconds)
        yield self._flushed  # the flush under way may have begun too early
        yield self._flushed

    def _flush(self) -> Events:
        while True:
            yield self.env.timeout(self.costs.flush)
            flushed, self._flushed = self._flushed, self.env.event()
            flushed.succeed()


class Worker:
    """One web process: parses what arrives, then inserts all that is ready, one statement at a time."""

    def __init__(self, database: Database, random: Random, rate: float, latencies: list[tuple[float, int]]) -> None:
        self.env, self.database, self.random, self.rate = database.env, database, random, rate
        self.latencies = latencies
        self.arrived: deque[tuple[float, int]] = deque()  # not yet parsed
        self.ready: deque[tuple[float, int]] = deque()  # not yet inserted
        self.wake = self.env.event()
        self.busy = 0.0
        self.env.process(self._serve())
        self.env.process(self._insert())

    def _serve(self) -> Events:
        spare = 0.0
        while True:
            yield self.env.timeout(SLICE)
            if count := _poisson(self.random, self.rate * SLICE):
                self.arrived.append((self.env.now - SLICE / 2, count))
            spare = min(spare, 0) + SLICE
            while self.arrived and spare > 0:
                at, count = self.arrived.popleft()
                done = min(count, max(1, int(spare / self.database.costs.web)))
                spare -= done * self.database.costs.web
                self.busy += done * self.database.costs.web
                self.ready.append((at, done))
                if done < count:
                    self.arrived.appendleft((at, count - done))
            if self.ready and not self.wake.triggered:
                self.wake.succeed()

    def _insert(self) -> Events:
        while True:
            if not self.ready:
                self.wake = self.env.event()
                yield self.wake
            batch, rows = [], 0
            while self.ready and rows + self.ready[0][1] <= MAX_BATCH:
                batch.append(self.ready.popleft())
                rows += batch[-1][1]
            yield from self.database.insert(rows)
            self.latencies.extend((self.env.now - at, count) for at, count in batch)


def simulate(costs: Costs, *, workers: int, database_cores: int, rate: float) -> dict[str, float]:
    """Return what `workers` web processes and one database do with `rate` submissions a second."""
    env = simpy.Environment()
    database = Database(env, costs, database_cores)
    latencies: list[tuple[float, int]] = []
    fleet = [Worker(database, Random(index), rate / workers, latencies) for index in range(workers)]  # noqa: S311 - a plan
    env.run(SIMULATED)
    latencies.clear()
    web, base = sum(each.busy for each in fleet), database.busy
    env.run(2 * SIMULATED)
    return {
        "answered_per_second": sum(count for _, count in latencies) / SIMULATED,
        "p50_ms": 1000 * _percentile(latencies, 0.5),
        "p99_ms": 1000 * _percentile(latencies, 0.99),
        "web_load": (sum(each.busy for each in fleet) - web) / SIMULATED / workers,
        "database_load": (database.busy - base) / SIMULATED / database_cores,
    }


def _poisson(random: Random, mean: float) -> int:
    return max(0, round(random.gauss(mean, mean**0.5))) if mean > 30 else _small_poisson(random, mean)


def _small_poisson(random: Random, mean: float) -> int:
    count, left = 0, random.expovariate(1)
    while left < mean:
        count, left = count + 1, left + random.expovariate(1)
    return count


def _percentile(latencies: list[tuple[float, int]], share: float) -> float:
    wanted, seen = share * sum(count for _, count in latencies), 0
    for latency, count in sorted(latencies):
        seen += count
        if seen >= wanted:
            return latency
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("action", choices=["measure", "simulate"])
    parser.add_argument("--cores", type=int, default=16, help="of each machine, web and database alike")
    options = parser.parse_args()
    if options.action == "measure":
        COSTS.write_text(json.dumps(asdict(measure()), indent=1) + "\n")
        print(COSTS.read_text())
        return
    if not COSTS.exists():
        raise SystemExit(f"error: {COSTS} is missing: run `python -m benchmarks.scaling measure` first")
    costs = Costs(**json.loads(COSTS.read_text()))
    print("| web machines | submissions/s | answered/s | p50 ms | p99 ms | web load | database load |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for machines in (1, 10, 100):
        for rate in (10_000, 100_000, 1_000_000):
            found = simulate(costs, workers=machines * options.cores, database_cores=options.cores, rate=rate)
            cells = (f"{found['answered_per_second']:,.0f}", f"{found['p50_ms']:,.0f}", f"{found['p99_ms']:,.0f}")
            loads = (f"{found['web_load']:.0%}", f"{found['database_load']:.0%}")
            print(f"| {machines} | {rate:,} | " + " | ".join((*cells, *loads)) + " |", flush=True)


if __name__ == "__main__":
    main()
