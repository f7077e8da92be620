"""Responses of the real service while its PostgreSQL fails or some requests are slow, and its recovery afterwards."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.proxy import reload
from tests.replication import Node, single
from tests.service import SECRET_KEY, SHORT_DEADLINES, Answer, Service, eventually, serving

Request = tuple[str, Any, dict[str, str]]  # path, data and headers

NUMBERS = count(1_000)
POOL = 5  # the worker's connections: enough for all concurrent requests of a test
SETTINGS = "max_connections = 16\nautovacuum = off\n"  # few connections, and none taken by autovacuum
END_OTHERS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name <> 'ours'
"""
READ_ONLY = "default_transaction_read_only"
FOLDED = "SELECT through >= (SELECT max(id) FROM fizzbuzz_submission) FROM fizzbuzz_watermark"
LOCKS = "SELECT count(*) FROM pg_locks WHERE NOT granted"
KILL_ON_INSERT = """
    CREATE FUNCTION kill() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
    CREATE TRIGGER kill BEFORE INSERT ON fizzbuzz_submission EXECUTE FUNCTION kill()
"""
# Make a comparison of two times take 20 ms, so that a time range with 1,000 submissions exceeds its timeout: on new
# connections, such as those of time ranges.
SLOW_COMPARISON = """
    CREATE FUNCTION public.slow_ge(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    BEGIN
        PERFORM pg_sleep(0.02);
        RETURN timestamptz_ge($1, $2);
    END $$;
    CREATE OPERATOR public.>= (FUNCTION = public.slow_ge, LEFTARG = timestamptz, RIGHTARG = timestamptz);
    ALTER ROLE CURRENT_USER SET search_path = public, pg_catalog;
"""


@pytest.fixture(scope="module")
def node(shared_data_dir: Path) -> Iterator[Node]:
    """A server on a file system of 160 MB, if it can be mounted, which takes root."""
    folder = shared_data_dir / "servers"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", folder], check=False)
    with single(shared_data_dir, SETTINGS) as node:
        yield node
    if folder.is_mount():
        subprocess.run(["umount", folder], check=True)


@contextmanager
def service_of(node: Node) -> Iterator[Service]:
    """One worker, so that a blocked request would block all others."""
    size = {"WEB_CONCURRENCY": "1", "DATABASE_POOL_SIZE": str(POOL)}
    with serving(DATABASE_URL=node.conninfo, SECRET_KEY=SECRET_KEY, **size, **SHORT_DEADLINES) as service:
        yield service


@pytest.fixture(scope="module")
def service(node: Node) -> Iterator[Service]:
    with service_of(node) as service:
        yield service


def times(node: Node, number: int) -> int:
    return int(node.query("SELECT count(*) FROM fizzbuzz_submission WHERE number = %s", number)[0][0])


def is_folded(node: Node) -> bool:
    return node.query(FOLDED) == [(True,)]


@contextmanager
def stopped(node: Node) -> Iterator[None]:
    node.pg_ctl("stop")
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
    """End each backend that inserts."""
    with node.connect() as database:
        database.execute(KILL_ON_INSERT)
        yield
        database.execute("DROP FUNCTION kill CASCADE")


@contextmanager
def out_of_connections(node: Node) -> Iterator[None]:
    """Take all connections of the server."""
    connect = partial(psycopg.connect, node.conninfo, autocommit=True, application_name="ours")
    with connect() as database, ExitStack() as stack:
        while database.execute(END_OTHERS).fetchall():
            with suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(connect())
        yield


@contextmanager
def read_only(node: Node) -> Iterator[None]:
    """Make the server read-only, like a standby."""
    with node.connect() as database:
        for value in ("on", "off"):
            database.execute(f"ALTER SYSTEM SET {READ_ONLY} = {value}")
            database.execute("SELECT pg_reload_conf()")
            while database.execute(f"SHOW {READ_ONLY}").fetchone() != (value,):
                pass
            if value == "on":
                yield


def outcome_of(answer: Answer) -> str:
    """Return the outcome that a 503 reports, or the status of another response."""
    if answer.status != 503:
        return str(answer.status)
    assert (answer.headers["Retry-After"], answer.headers["Content-Type"]) == ("5", "application/problem+json")
    return answer.json().get("outcome", "unavailable")


def submissions(single: int, batch: int, keyed: int, keyed_batch: int) -> dict[str, Request]:
    """Return each kind of request that submits a number to the API."""
    return {
        "single": ("/api/fizzbuzz", {"number": single}, {}),
        "batch": ("/api/fizzbuzz/batch", {"numbers": [batch, batch]}, {}),
        "keyed single": ("/api/fizzbuzz", {"number": keyed}, {"Idempotency-Key": f"key-{keyed}"}),
        "keyed batch": ("/api/fizzbuzz/batch", {"numbers": [keyed_batch] * 2}, {"Idempotency-Key": f"key-{keyed}"}),
    }


def send(service: Service, requests: dict[str, Request]) -> dict[str, str]:
    """Send all requests at once, and return the status, or the outcome, of each."""
    with ThreadPoolExecutor() as pool:
        sent = {name: pool.submit(service.request, *each[:2], **each[2]) for name, each in requests.items()}
        return {name: outcome_of(each.result()) for name, each in sent.items()}


READ: dict[str, Request] = {"read": ("/api/fizzbuzz", None, {})}
RECORDED = dict.fromkeys(["single", "batch", "keyed single", "keyed batch"], "201")
UNSENT = dict.fromkeys(RECORDED, "not-recorded")
FAULTS = [
    (stopped, {**UNSENT, "read": "unavailable"}),
    # The group commit's connection was open and took the statement. The others were checked first, and timed out.
    (hung, {**UNSENT, "single": "outcome-unknown", "read": "unavailable"}),
    # The server cancels the statement before the client's deadline, so it is certain that nothing was recorded.
    (locked, {**UNSENT, "read": "unavailable"}),
    # The statement of a single number commits by itself. Of the others, the commit was never sent.
    (killed, {**UNSENT, "single": "outcome-unknown", "read": "200"}),
    (out_of_connections, {**UNSENT, "read": "unavailable"}),
    (read_only, {**UNSENT, "read": "200"}),
]


def test_outage_is_logged_in_two_lines_and_may_begin_before_the_worker(node: Node) -> None:
    """It comes first in this module: its other service would fold the rows, too."""
    with service_of(node) as service:
        with stopped(node):
            reload(service.process)
            assert eventually(lambda: service.request("/health/live").status == 200)
            during = send(service, submissions(*islice(NUMBERS, 4)) | READ)
        after = send(service, submissions(*islice(NUMBERS, 4)) | READ)
        assert eventually(lambda: is_folded(node))
        logged = "\n".join(json.loads(line)["event"] for line in service.stop()[1].splitlines())

    assert (during, after) == ({**UNSENT, "read": "unavailable"}, {**RECORDED, "read": "200"})
    # The first worker may have noticed, too.
    assert re.fullmatch(r"(The database fails: connection .+\n){1,2}The database works again, after \d+ s", logged)


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_service_reports_the_fault_and_recovers(
    service: Service,
    node: Node,
    fault: Callable[[Node], AbstractContextManager[None]],
    expected: dict[str, str],
) -> None:
    assert send(service, submissions(*islice(NUMBERS, 4))) == RECORDED
    numbers = list(islice(NUMBERS, 4))
    requests = submissions(*numbers)
    started_at = service.request("/info").json()["started_at"]

    with fault(node), ThreadPoolExecutor() as pool:
        sent = pool.submit(send, service, requests | READ)
        while not sent.done():
            assert service.request("/health/live").status == 200

    assert sent.result() == expected
    assert eventually(lambda: service.request("/health").status == 200)
    assert send(service, requests) == RECORDED
    for name, number in zip(requests, numbers, strict=True):
        rows = 2 if name.endswith("batch") else 1
        # Without a key, a repeated request is recorded again.
        assert times(node, number) in ({rows, 2 * rows} if expected[name] == "outcome-unknown" else {rows})
    assert service.request("/info").json()["started_at"] == started_at


def test_reads_do_not_block_writes(service: Service, node: Node) -> None:
    numbers = list(islice(NUMBERS, 4))
    # Of different things: requests for the same number would share one read.
    reads: dict[str, Request] = {
        path: (path, None, {}) for path in (f"/api/numbers/{each}" for each in range(2 * POOL))
    }

    with node.connect() as database, database.transaction(), ThreadPoolExecutor() as pool:
        database.execute("LOCK TABLE fizzbuzz_watermark IN ACCESS EXCLUSIVE MODE")
        answers = pool.submit(send, service, reads)
        assert eventually(lambda: database.execute(LOCKS).fetchone() == (POOL // 2 + 1,))  # the fold waits too
        assert send(service, submissions(*numbers)) == RECORDED
        assert not answers.done()
        assert answers.result() == dict.fromkeys(reads, "unavailable")
    assert [times(node, number) for number in numbers] == [1, 2, 1, 2]
    assert eventually(lambda: service.request("/api/most_common").status == 200)


def test_slow_time_ranges_do_not_block_reads_writes_and_folds(service: Service, node: Node) -> None:
    assert service.request("/api/fizzbuzz/batch", {"numbers": [7] * 10_000}).status == 201
    reads = ("/api/most_common", "/api/fizzbuzz?kind=Fizz", "/numbers/7", "/stats", "/admin/login/")
    with node.connect() as database, ThreadPoolExecutor(16) as pool:
        database.execute(SLOW_COMPARISON)
        ranges = [pool.submit(service.request, "/api/most_common?since=2020-01-01") for _ in range(10_000)]
        try:
            assert eventually(lambda: ranges[0].done() or ranges[1].done())
            assert [service.request(path).status for path in reads] == [200] * len(reads)
            assert send(service, submissions(*islice(NUMBERS, 4))) == RECORDED
            assert service.request("/api/fizzbuzz/batch", {"numbers": [7] * 1_500}).status == 201
            assert eventually(lambda: is_folded(node))
        finally:
            pool.shutdown(cancel_futures=True)
            database.execute("ALTER ROLE CURRENT_USER RESET search_path")

    assert {each.result().status for each in ranges if not each.cancelled()} == {400, 429}


def test_service_reports_a_full_disk_and_recovers(service: Service, node: Node) -> None:
    folder = node.folder.parent
    if not folder.is_mount():
        pytest.skip("needs a small disk: mount of a tmpfs failed, which takes root")
    number = next(NUMBERS)
    with suppress(OSError):
        (folder / "filler").write_bytes(bytes(160 * 2**20))
    batch = {"numbers": [number] * 10_000}
    answers = [outcome_of(service.request("/api/fizzbuzz/batch", batch)) for _ in range(3)]
    (folder / "filler").unlink()

    assert {"not-recorded"} <= set(answers) <= {"not-recorded", "201"}
    assert eventually(lambda: service.request("/health").status == 200)
    assert times(node, number) == 10_000 * answers.count("201")
    assert send(service, submissions(*islice(NUMBERS, 4))) == RECORDED
