"""Load generators, and the CPU time that their load costs."""

import json
import re
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.postgres import Postgres
from benchmarks.processes import cpu_seconds
from benchmarks.systems import Running

HERE = Path(__file__).parent
LONGEST_ANSWER = 120  # seconds

Figures = dict[str, float]


def wrk(
    postgres: Postgres,
    system: Running,
    connections: int,
    seconds: int,
    *,
    hot: float = 0,
    reads: float = 0,
    path: str = "/api/most_common",
    etag: str = "",
) -> Figures:
    """Send requests from `connections` clients as fast as each can, one after another. Errors are not counted."""
    command = ["wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--latency"]
    script = [f"--timeout={LONGEST_ANSWER}s", f"--script={HERE / 'load.lua'}", f"http://127.0.0.1:{system.port}", "--"]
    arguments = [str(time.time_ns() % 2**31), str(hot), str(reads), path, *([etag] if etag else [])]
    before = cpu_seconds(system.pid), cpu_seconds(postgres.pid)
    output = subprocess.run([*command, *script, *arguments], check=True, capture_output=True, text=True).stdout
    after = cpu_seconds(system.pid), cpu_seconds(postgres.pid)
    counted = json.loads(output.splitlines()[-1])
    if counted["broken"]:
        raise RuntimeError(f"{system.name} broke {counted['broken']} connections")
    postgres.come_to_rest(system.database)
    requests = counted["requests"] - counted["rejected"]
    cpu, postgres_cpu = (1000 * (then - now) / max(requests, 1) for now, then in zip(before, after, strict=True))
    return {
        "requests_per_second": requests / counted["seconds"],
        "p50_ms": counted["p50_ms"],
        "p99_ms": counted["p99_ms"],
        "cpu_ms": cpu,
        "postgres_cpu_ms": postgres_cpu,
        "rejected": counted["rejected"],
    }


def pgbench(postgres: Postgres, database: str, connections: int, seconds: int, *, hot: float) -> Figures:
    """Insert the same rows by the same prepared INSERT, without a service."""
    command = [str(postgres.programs / "pgbench"), "--no-vacuum", "--protocol=prepared", "--jobs=1"]
    load = [f"--client={connections}", f"--time={seconds}", f"--define=hot={hot * 100:.0f}"]
    where = [f"--file={HERE / 'limit.sql'}", postgres.url(database)]
    before = cpu_seconds(postgres.pid)
    output = subprocess.run([*command, *load, *where], check=True, capture_output=True, text=True).stdout
    used = cpu_seconds(postgres.pid) - before
    done = int(_found(r"actually processed: (\d+)", output))
    return {"requests_per_second": _found(r"tps = ([\d.]+)", output), "postgres_cpu_ms": 1000 * used / done}


def ask(system: Running, path: str, seconds: float) -> list[float]:
    """Send at least one request from one client, and return the milliseconds of each response."""
    connection = HTTPConnection("127.0.0.1", system.port, timeout=LONGEST_ANSWER)
    taken: list[float] = []
    while sum(taken) < seconds * 1000:
        begun = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{system.name} answered {response.status}")
        taken.append(1000 * (time.perf_counter() - begun))
    return taken


def etag(system: Running, path: str) -> str:
    connection = HTTPConnection("127.0.0.1", system.port, timeout=LONGEST_ANSWER)
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    return response.headers["ETag"]


def _found(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if not match:
        raise RuntimeError(f"no {pattern} in: {text}")
    return float(match[1])
