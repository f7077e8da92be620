"""Responses of the real service while its PostgreSQL fails, and its recovery afterwards."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from tests.replication import Node, single
from tests.service import SECRET_KEY, Answer, Service, children, eventually, manage, serving

NUMBERS = itertools.count(1_000)
POOL = 5  # the worker's connections: enough for all concurrent requests of a test
SETTINGS = "max_connections = 16\nautovacuum = off\n"  # few connections, and none taken by autovacuum


@pytest.fixture(scope="module")
def node(shared_data_dir: Path) -> Iterator[Node]:
    with single(shared_data_dir, SETTINGS) as node:
        yield node


@contextmanager
def service_of(node: Node) -> Iterator[Service]:
    """One worker, so that a blocked request would block all others."""
    environment = {"DATABASE_URL": node.conninfo, "SECRET_KEY": SECRET_KEY}
    assert manage("migrate", "--verbosity=0", **environment).communicate() == ("", "")
    with serving(**environment, WEB_CONCURRENCY="1", DATABASE_POOL_SIZE=str(POOL)) as service:
        yield service


@pytest.fixture(scope="module")
def service(node: Node) -> Iterator[Service]:
    with service_of(node) as service:
        yield service


def times(node: Node, number: int) -> int:
    with node.connect() as database:
        (count,) = database.execute("SELECT count(*) FROM fizzbuzz_submission WHERE number = %s", [number])
    return int(count[0])


def is_folded(node: Node) -> bool:
    folded = "SELECT through >= (SELECT max(id) FROM fizzbuzz_submission) FROM fizzbuzz_watermark"
    with node.connect() as database:
        return database.execute(folded).fetchone() == (True,)


@contextmanager
def stopped(node: Node) -> Iterator[None]:
    node.stop()
    yield
    node.start()


@contextmanager
def hung(node: Node) -> Iterator[None]:
    pids = node.processes()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def locked(node: Node) -> Iterator[None]:
    with node.connect() as database, database.transaction():
        database.execute("LOCK TABLE fizzbuzz_submission IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def killed(node: Node) -> Iterator[None]:
    """Lock the log, and end each backend that waits for it."""
    with locked(node), node.connect() as database, ThreadPoolExecutor() as pool:
        ended = Event()

        def kill() -> None:
            while not ended.wait(0.05):
                database.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")

        pool.submit(kill)
        yield
        ended.set()


@contextmanager
def out_of_connections(node: Node) -> Iterator[None]:
    """Take all connections of the server."""
    with ExitStack() as stack:
        ours = stack.enter_context(psycopg.connect(node.conninfo, autocommit=True, application_name="ours"))
        while True:
            ended = ours.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND application_name <> 'ours'"
            ).fetchall()
            try:
                stack.enter_context(psycopg.connect(node.conninfo, application_name="ours"))
            except psycopg.OperationalError:
                if not ended:
                    break
        yield


@contextmanager
def read_only(node: Node) -> Iterator[None]:
    """Make the server read-only, like a standby."""
    with node.connect() as database, node.connect() as other:
        database.execute("SET default_transaction_read_only = off")
        for value in ("on", "off"):
            database.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            database.execute("SELECT pg_reload_conf()")
            while other.execute("SHOW default_transaction_read_only").fetchone() != (value,):
                time.sleep(0.05)
            if value == "on":
                yield


def outcome_of(answer: Answer) -> str:
    """Return the outcome that a 503 reports, or the status of another response."""
    if answer.status != 503:
        return str(answer.status)
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.json().get("outcome", "unavailable")


def submissions(number: int) -> dict[str, tuple[str, Any, dict[str, str]]]:
    """Return each kind of request that submits a number to the API."""
    return {
        "single": ("/api/fizzbuzz", {"number": number}, {}),
        "batch": ("/api/fizzbuzz/batch", {"numbers": [number, number]}, {}),
        "keyed single": ("/api/fizzbuzz", {"number": number}, {"Idempotency-Key": f"key-{number}"}),
        "keyed batch": ("/api/fizzbuzz/batch", {"numbers": [number, number]}, {"Idempotency-Key": f"key-{number}"}),
    }


UNSENT = dict.fromkeys(["single", "batch", "keyed single", "keyed batch"], "not-recorded")
FAULTS = [
    (stopped, {**UNSENT, "read": "unavailable"}),
    # The group commit's connection was open and took the statement. The others were checked first, and timed out.
    (hung, {**UNSENT, "single": "outcome-unknown", "read": "unavailable"}),
    # The server cancels the statement before the client's deadline, so it is certain that nothing was recorded.
    (locked, {**UNSENT, "read": "unavailable"}),
    # The statement of a single number commits by itself. Of the others, the commit was never sent.
    (killed, {**UNSENT, "single": "outcome-unknown", "read": "unavailable"}),
    (out_of_connections, {**UNSENT, "read": "unavailable"}),
    (read_only, {**UNSENT, "read": "200"}),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_service_reports_the_fault_and_recovers(
    service: Service,
    node: Node,
    fault: Callable[[Node], AbstractContextManager[None]],
    expected: dict[str, str],
) -> None:
    warm = [
        service.request(path, data, **headers).status for path, data, headers in submissions(next(NUMBERS)).values()
    ]
    requests = {name: submissions(next(NUMBERS))[name] for name in UNSENT}
    started_at = service.request("/info").json()["started_at"]

    with fault(node), ThreadPoolExecutor() as pool:
        futures = {
            name: pool.submit(service.request, path, data, **headers)
            for name, (path, data, headers) in requests.items()
        }
        futures["read"] = pool.submit(service.request, "/api/fizzbuzz")
        while not all(future.done() for future in futures.values()):
            assert service.request("/health/live").status == 200
        answers = {name: outcome_of(future.result()) for name, future in futures.items()}

    assert warm == [201] * 4
    assert answers == expected
    assert eventually(lambda: service.request("/health").status == 200)
    again = {name: service.request(path, data, **headers).status for name, (path, data, headers) in requests.items()}
    assert again == dict.fromkeys(requests, 201)
    for name, (_, data, _) in requests.items():
        number, *more = data.get("numbers") or data.values()
        rows = len([number, *more])
        # Without a key, a repeated request is recorded again.
        assert times(node, number) in ({rows, 2 * rows} if answers[name] == "outcome-unknown" else {rows})
    assert service.request("/info").json()["started_at"] == started_at


def test_reads_do_not_block_writes(service: Service, node: Node) -> None:
    sent = [next(NUMBERS) for _ in range(4)]
    requests = [submissions(number)[way] for number, way in zip(sent, UNSENT, strict=True)]

    with node.connect() as database, database.transaction(), ThreadPoolExecutor() as pool:
        database.execute("LOCK TABLE fizzbuzz_watermark IN ACCESS EXCLUSIVE MODE")
        # Of different things: requests for the same number would share one read.
        readers = [pool.submit(service.request, f"/api/numbers/{number}") for number in range(2 * POOL)]
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        assert eventually(lambda: database.execute(waits).fetchone() == (POOL // 2 + 1,))  # the fold waits too

        answers = [service.request(path, data, **headers).status for path, data, headers in requests]

        assert not any(reader.done() for reader in readers)
        assert answers == [201] * 4
        assert [outcome_of(reader.result()) for reader in readers] == ["unavailable"] * (2 * POOL)
    assert [times(node, number) for number in sent] == [1, 2, 1, 2]
    assert eventually(lambda: service.request("/api/most_common").status == 200)


def test_long_outage_ends_at_once_and_is_logged_in_two_lines(node: Node) -> None:
    """The pools' pauses between attempts to connect grow during an outage, also of a worker that starts during it."""
    with service_of(node) as service:
        before, sent = children(service.process.pid), []
        with stopped(node), ThreadPoolExecutor() as pool:
            service.process.send_signal(signal.SIGHUP)
            assert eventually(lambda: not set(before) & set(children(service.process.pid)))
            assert eventually(lambda: service.request("/health/live").status == 200)
            for _ in range(4):
                sent += [pool.submit(service.request, *each[:2]) for each in submissions(next(NUMBERS)).values()]
                sent += [pool.submit(service.request, path) for path in ("/api/fizzbuzz", "/health")]
                time.sleep(5)
            during = {each.result().status for each in sent}
        requests = submissions(next(NUMBERS)).values()
        after = [service.request(path, data, **headers).status for path, data, headers in requests]
        after.append(service.request("/api/fizzbuzz").status)
        assert eventually(lambda: is_folded(node))
        log = [json.loads(line)["event"] for line in service.stop()[1].splitlines()]

    assert during == {503}
    assert after == [201, 201, 201, 201, 200]
    *begun, over = log  # the first worker may not have noticed
    assert len(begun) in {1, 2}
    assert all(each.startswith("The database fails: connection ") for each in begun)  # and why
    assert over.startswith("The database works again, after ")


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    """A file system of 160 MB for the server of this data folder."""
    folder = data_dir / "servers"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", folder], check=False).returncode:
        pytest.skip("needs a small disk: mount of a tmpfs failed, which takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_service_reports_a_full_disk_and_recovers(data_dir: Path, small_disk: Path) -> None:
    (many, one, keyed) = ([next(NUMBERS)] * 10_000, next(NUMBERS), next(NUMBERS))

    with single(data_dir, SETTINGS) as node, service_of(node) as service:
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(2**16)):
                pass
        full = shutil.disk_usage(small_disk).free
        answers = [outcome_of(service.request("/api/fizzbuzz/batch", {"numbers": many})) for _ in range(3)]
        filler.unlink()

        assert full == 0
        assert "not-recorded" in answers
        assert set(answers) <= {"not-recorded", "201"}
        assert eventually(lambda: service.request("/health").status == 200)
        for _ in range(2):
            headers = {"Idempotency-Key": "after"}
            assert service.request("/api/fizzbuzz", {"number": keyed}, **headers).status == 201
        assert service.request("/api/fizzbuzz", {"number": one}).status == 201
        recorded = 10_000 * answers.count("201")
        assert [times(node, number) for number in (many[0], one, keyed)] == [recorded, 1, 1]
