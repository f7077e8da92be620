"""The measurements. In every round of a part, every system is measured once, so that a slow minute affects all."""

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.load import Figures, ask, etag, pgbench, wrk
from benchmarks.postgres import Postgres
from benchmarks.processes import memory_of_workers
from benchmarks.requests_cpu import CASES, CHANGED, FLOORS, POST, URLS
from benchmarks.systems import BARE, BEFORE, BEFORE_FOLDER, COPY, LIMIT, OURS, PAGE, SERVED, Running, running

LOADS = {"spread": 0.0, "hot": 0.9}  # the share of the one popular number
LIVE, POLLED_EVERY = "/live", 10  # seconds; what each open page asks for
MILLION = 1_000_000
OTHER_COMMIT = [BEFORE] if BEFORE_FOLDER else []
WITH_FLOORS = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings"}


@dataclass(frozen=True)
class Plan:
    rounds: int = 5
    seconds: int = 3  # of one run
    connections: tuple[int, ...] = (16, 1, 64)
    rows: tuple[int, ...] = (1_000, 100_000, MILLION, 10 * MILLION)

    @property
    def most_rows(self) -> int:
        return self.rows[-1]


QUICK = Plan(rounds=2, seconds=1, connections=(16,), rows=(1_000, 100_000))


@dataclass(frozen=True)
class Run:
    case: str
    system: str
    round: int
    figures: Figures


Runs = Iterator[Run]


def post(postgres: Postgres, plan: Plan) -> Runs:
    """One number in each request."""
    names = [*SERVED, *OTHER_COMMIT]
    databases = postgres.make_databases(*names, LIMIT)
    with ExitStack() as stack:
        systems = [stack.enter_context(running(postgres, name, databases[name])) for name in names]
        for system in systems:
            wrk(postgres, system, 16, 2)  # warms it up
        for connections in plan.connections:
            for turn in range(plan.rounds):
                for load, hot in LOADS.items():
                    case = f"{connections} connections, {load}"
                    for system in _shifted(systems, turn):
                        figures = wrk(postgres, system, connections, plan.seconds, hot=hot)
                        yield Run(case, system.name, turn, figures)
                    limit = pgbench(postgres, databases[LIMIT], connections, plan.seconds, hot=hot)
                    yield Run(case, LIMIT, turn, limit)


def read(postgres: Postgres, plan: Plan) -> Runs:
    """The three most common numbers, read by one client, at every size of the log in each round."""
    with ExitStack() as stack:
        systems: dict[int, list[Running]] = {}
        for rows in plan.rows:
            databases = postgres.make_databases(*SERVED, rows=rows)
            systems[rows] = [stack.enter_context(running(postgres, name, databases[name])) for name in SERVED]
            for system in systems[rows]:
                ask(system, "/api/most_common", 1)  # warms it up
        for turn in range(plan.rounds):
            for rows in plan.rows:
                for system in _shifted(systems[rows], turn):
                    taken = ask(system, "/api/most_common", plan.seconds / 2)
                    yield Run(f"{rows:,} rows", system.name, turn, {"p50_ms": median(taken)})
                yield from _in_sql(postgres, rows, turn, plan.seconds / 4)


def _in_sql(postgres: Postgres, rows: int, turn: int, seconds: float) -> Runs:
    """The statements that this service and a peer send to PostgreSQL for the same result, without the services."""
    statements = {
        OURS: postgres.manage(f"{OURS}_{rows}", "shell", "--no-imports", "--command", _SHOW_STATEMENT),
        BARE: "SELECT number, count(*) FROM fizzbuzz_submission GROUP BY number ORDER BY count(*) DESC, number LIMIT 3",
    }
    for system, statement in statements.items():
        taken: list[float] = []
        with postgres.connect(f"{system}_{rows}") as connection:
            while sum(taken) < seconds * 1000:
                begun = time.perf_counter()
                connection.execute(statement).fetchall()
                taken.append(1000 * (time.perf_counter() - begun))
        yield Run(f"{rows:,} rows, in SQL", system, turn, {"p50_ms": median(taken)})


# Prints the statement that the service sends to PostgreSQL, including its values.
_SHOW_STATEMENT = """
from django.db import connection
from django.test import Client
connection.force_debug_cursor = True
assert Client(SERVER_NAME="localhost").get("/api/most_common").status_code == 200
print(next(query["sql"] for query in connection.queries if "fizzbuzz_" in query["sql"]))
"""


def mixed(postgres: Postgres, plan: Plan) -> Runs:
    """Nine submissions per request for the most common numbers, on a long log."""
    databases = postgres.make_databases(*SERVED, rows=plan.most_rows)
    with ExitStack() as stack:
        systems = [stack.enter_context(running(postgres, name, databases[name])) for name in SERVED]
        for system in systems:
            wrk(postgres, system, 16, 2)  # warms it up
        for turn in range(plan.rounds):
            for system in _shifted(systems, turn):
                # Long enough for the peers to answer the requests of the first moment.
                figures = wrk(postgres, system, 16, plan.seconds * 15, reads=0.1)
                yield Run(f"{plan.most_rows:,} rows, 16 connections", system.name, turn, figures)


def load_file(postgres: Postgres, plan: Plan) -> Runs:
    r"""A file of numbers: our import_numbers, and psql's \copy of it into a table with the same indexes."""
    databases = postgres.make_databases(OURS)
    can_import = postgres.can(databases[OURS], "import_numbers")
    postgres.drop_databases(databases)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "numbers.txt"
        _write_numbers(file, plan.most_rows)
        for turn in range(plan.rounds):
            databases = postgres.make_databases(OURS, COPY)
            if can_import:
                begun = time.perf_counter()
                postgres.manage(databases[OURS], "import_numbers", str(file))
                yield _rate(OURS, plan.most_rows, turn, begun)
            copy = rf"\copy fizzbuzz_submission (number) from '{file}'"
            command = [str(postgres.programs / "psql"), "--quiet", "--command", copy, postgres.url(databases[COPY])]
            begun = time.perf_counter()
            subprocess.run(command, check=True)
            yield _rate(COPY, plan.most_rows, turn, begun)
            postgres.drop_databases(databases)
    if not can_import:
        print("skipped: this service has no import_numbers command")


def _write_numbers(file: Path, rows: int) -> None:
    numbers = random.Random(15)  # noqa: S311, the same file every time
    with file.open("w") as out:
        out.writelines(f"{numbers.randint(1, MILLION)}\n" for _ in range(rows))


def _rate(system: str, rows: int, turn: int, begun: float) -> Run:
    return Run(f"{rows:,} numbers", system, turn, {"rows_per_second": rows / (time.perf_counter() - begun)})


def live(postgres: Postgres, plan: Plan) -> Runs:
    """The figures that open first pages poll: for clients without and with a current ETag."""
    databases = postgres.make_databases(OURS, rows=plan.rows[1])
    with running(postgres, OURS, databases[OURS]) as system:
        known = {"200": "", "304": etag(system, LIVE)}
        for turn in range(plan.rounds):
            for status, tag in known.items():
                figures = wrk(postgres, system, 16, plan.seconds, reads=1, path=LIVE, etag=tag)
                busy = figures["cpu_ms"] + figures["postgres_cpu_ms"]
                figures["pages_per_core"] = 1000 * POLLED_EVERY / busy
                yield Run(f"{status}, 16 connections", OURS, turn, figures)


def cost(postgres: Postgres, plan: Plan) -> Runs:
    """What each middleware adds to the CPU time of a submission, without gunicorn around it."""
    databases = postgres.make_databases(OURS)
    taken = json.loads(postgres.python(databases[OURS], "-m", "benchmarks.middleware", str(plan.rounds)))
    for name, all_but_one in taken.items():
        for turn, (everything, rest) in enumerate(zip(taken["all"], all_but_one, strict=True)):
            yield Run(name, OURS, turn, {"cpu_us": everything if name == "all" else everything - rest})


def cpu(postgres: Postgres, plan: Plan) -> Runs:
    """The CPU time of each page and read in one process, and how many times its floor's that is."""
    databases = postgres.make_databases(OURS, rows=plan.rows[1])
    taken = json.loads(postgres.python(databases[OURS], "-m", "benchmarks.requests_cpu", str(plan.rounds)))
    for case in CASES:
        for turn, (own, floor) in enumerate(zip(taken[case], taken[FLOORS[case]], strict=True)):
            yield Run(case, OURS, turn, {"cpu_us": own, "of_floor": own / floor})


def pages(postgres: Postgres, plan: Plan) -> Runs:
    """The first page, against a peer's; and every other page and read of this service."""
    names = [OURS, PAGE, *OTHER_COMMIT]
    databases = postgres.make_databases(*names, rows=plan.rows[1])
    with ExitStack() as stack:
        systems = [stack.enter_context(running(postgres, OURS, databases[OURS], **WITH_FLOORS))]
        systems += [stack.enter_context(running(postgres, name, databases[name])) for name in names[1:]]
        for system in systems:
            wrk(postgres, system, 16, 1, reads=1, path="/")  # warms it up
        for turn in range(plan.rounds):
            for system in _shifted(systems, turn):
                yield Run("/", system.name, turn, wrk(postgres, system, 16, plan.seconds, reads=1, path="/"))
            for case in CASES:
                path = URLS.get(case, case)
                if case not in {"/", POST, CHANGED}:
                    figures = wrk(postgres, systems[0], 16, plan.seconds, reads=1, path=path)
                    yield Run(case, OURS, turn, figures)


def memory(postgres: Postgres, plan: Plan) -> Runs:
    """The memory of a worker after some load, and the time from the start to the first response."""
    databases = postgres.make_databases(*SERVED)
    for turn in range(plan.rounds):
        for name in SERVED:
            with running(postgres, name, databases[name]) as system:
                wrk(postgres, system, 16, plan.seconds)
                workers = memory_of_workers(system.pid)
                figures = {"mb_per_worker": sum(workers) / len(workers), "seconds_to_start": system.started_in}
                yield Run("2 workers", name, turn, figures)


def _shifted(systems: list[Any], turn: int) -> list[Any]:
    """Return the systems in another order for each round."""
    first = turn % len(systems)
    return systems[first:] + systems[:first]


PARTS: dict[str, Callable[[Postgres, Plan], Runs]] = {
    "pages": pages,
    "cpu": cpu,
    "post": post,
    "read": read,
    "mixed": mixed,
    "import": load_file,
    "live": live,
    "cost": cost,
    "memory": memory,
}
