"""A synchronous standby behind PostgreSQL, and PgBouncer before it: what is acknowledged is recorded, once.

While the standby is stopped, nothing is acknowledged that it lacks, and nothing else becomes visible.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from fizzbuzz.db.base import SESSION
from tests.clients import submitting
from tests.db.test_connections import PATHS, PROVIDERS_SETTINGS
from tests.db.test_database_faults import FOLDED, send, submissions
from tests.proxy import free_port, listens
from tests.replication import DATABASE, UNPRIVILEGED, USER, Node, replicated, single
from tests.service import ROOT, SECRET_KEY, SHORT_DEADLINES, Service, eventually, manage, serving

PGBOUNCER = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
SERVER_CONNECTIONS = 3  # fewer than the service's own, so that they are shared
SHIPPED = ROOT / "deploy/pgbouncer/pgbouncer.ini"
CLIENTS = 6
CLEAN = ("All counts match the log.\n", "")
MIN_ACKNOWLEDGED = 150  # submissions, and as many after a failover
POOL = 6  # the worker's connections, half of them for writes
WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'"
RECORDED = "SELECT number, count(*) FROM fizzbuzz_submission GROUP BY 1 ORDER BY 1"
SUBMISSIONS = submissions(1, 2, 3, 4)
READS = ("/api/fizzbuzz", "/api/most_common", "/health")


class Replicated(NamedTuple):
    """A service with one worker, the primary that it uses, and the standby that each commit waits for."""

    primary: Node
    standby: Node
    service: Service
    environment: dict[str, str]

    def is_waited_for(self, commits: int) -> bool:
        return eventually(lambda: self.primary.query(f"SELECT count(*) {WAITING}") == [(commits,)])


@pytest.fixture(scope="module")
def site(shared_data_dir: Path) -> Iterator[Replicated]:
    with replicated(shared_data_dir) as (primary, standby):
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        environment = {
            "DATABASE_URL": f"postgresql://{USER}@{hosts}/{DATABASE}?target_session_attrs=read-write",
            "SECRET_KEY": SECRET_KEY,
        }
        size = {"WEB_CONCURRENCY": "1", "DATABASE_POOL_SIZE": str(POOL)}
        with serving(**environment, **size, **SHORT_DEADLINES) as service:
            yield Replicated(primary, standby, service, environment)


def test_commits_that_wait_for_a_standby_are_bounded_and_acknowledged_only_once_it_has_them(
    site: Replicated, tmp_path: Path
) -> None:
    numbers = tmp_path / "numbers"
    numbers.write_text("5\n")
    site.standby.kill()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(send, site.service, SUBMISSIONS)
        assert site.is_waited_for(len(SUBMISSIONS))
        site.primary.query(f"SELECT pg_cancel_backend(pid) {WAITING}")  # as a restart does: their rows become visible
        canceled = first.result()
    again = send(site.service, SUBMISSIONS)
    rejected = send(site.service, SUBMISSIONS)  # at once: all connections wait
    reads = {path: site.service.request(path).status for path in READS}
    assert site.is_waited_for(1 + POOL // 2)
    visible = site.primary.query(RECORDED)
    interrupted = manage("import_numbers", str(numbers), **site.environment)
    assert site.is_waited_for(2 + POOL // 2)
    interrupted.send_signal(signal.SIGINT)
    _, message = interrupted.communicate()
    resumed = manage("import_numbers", str(numbers), **site.environment)
    assert site.is_waited_for(2 + POOL // 2)
    site.standby.start()
    imported, _ = resumed.communicate()
    assert site.is_waited_for(0)
    recovered = send(site.service, SUBMISSIONS)
    recorded = site.primary.query(RECORDED)

    assert canceled == again == dict.fromkeys(SUBMISSIONS, "outcome-unknown")
    assert (rejected, reads) == (dict.fromkeys(SUBMISSIONS, "not-recorded"), dict.fromkeys(READS, 200))
    assert visible == [(1, 1), (2, 2), (3, 1), (4, 2)]
    assert "the wait for a standby was canceled. Run the same command again to resume." in message
    assert imported.startswith("This file was already imported: all 1 numbers")
    assert recovered == dict.fromkeys(SUBMISSIONS, "201")
    assert recorded == [(1, 3), (2, 6), (3, 1), (4, 2), (5, 1)]
    assert eventually(lambda: site.standby.query(RECORDED) == recorded)


def test_failover_loses_no_acknowledged_submission(site: Replicated) -> None:
    with site.primary.connect() as database:
        database.execute("TRUNCATE fizzbuzz_submission, fizzbuzz_idempotencykey")
    assert manage("top_numbers", "--rebuild", **site.environment).communicate()[1] == ""

    with submitting(lambda: site.service.address, "failover", CLIENTS) as ledger:
        assert eventually(lambda: ledger.acknowledged >= MIN_ACKNOWLEDGED)

        site.primary.kill()
        lost_at = ledger.acknowledged
        site.standby.pg_ctl("promote")

        assert eventually(lambda: ledger.acknowledged >= lost_at + MIN_ACKNOWLEDGED)
        assert site.service.request("/health").json()["status"] == "ok"
    assert manage("top_numbers", "--verify", **site.environment).communicate() == CLEAN
    with site.standby.connect() as database:
        assert ledger.compare(database) == []


def test_pgbouncer_sets_what_it_accepts_from_no_client() -> None:
    shipped = SHIPPED.read_text().replace("''read committed''", r"read\ committed")

    assert [name for name, value in SESSION.items() if f"SET {name} = {value}" not in shipped] == []


@contextmanager
def pooling(node: Node) -> Iterator[str]:
    """Run PgBouncer before `node`, and return the URL to connect through it."""
    folder, port = node.folder.with_name("pgbouncer"), free_port()
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "users").write_text(f'"{USER}" ""\n')
    ours = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "auth_type": "trust",
        "auth_file": str(folder / "users"),
        "default_pool_size": str(SERVER_CONNECTIONS),
    }
    configuration = SHIPPED.read_text().replace("host=db port=5432", f"host=127.0.0.1 port={node.port}")
    for name, value in ours.items():
        configuration, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", configuration, flags=re.MULTILINE)
        assert count == 1, name
    (folder / "pgbouncer.ini").write_text(configuration + "\nunix_socket_dir =\n")
    assert PGBOUNCER
    process = subprocess.Popen([PGBOUNCER, "-q", folder / "pgbouncer.ini"], **UNPRIVILEGED, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: listens(port))
        yield f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(PGBOUNCER is None, reason="needs a pooler: apt-get install pgbouncer")
def test_service_works_through_pgbouncer(data_dir: Path) -> None:
    with single(data_dir) as node, pooling(node) as url, node.connect() as database:
        pooled = {"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, "TRANSACTION_POOLING": "1", "METRICS_PUBLIC": "1"}
        migrating = [manage(*each, **pooled) for each in (["migrate"], ["serve", "--migrate"])]
        rejected = [each.communicate()[1] for each in migrating]
        assert database.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchall() == []
        for name, value in PROVIDERS_SETTINGS.items():
            database.execute(f"ALTER ROLE {USER} SET {name} = '{value}'")
        with serving(**pooled) as service:
            with submitting(lambda: service.address, "pooled", CLIENTS) as ledger:
                assert eventually(lambda: ledger.acknowledged >= MIN_ACKNOWLEDGED)
            assert {path: service.request(path).status for path in PATHS} == dict.fromkeys(PATHS, 200)
            assert eventually(lambda: database.execute(FOLDED).fetchone() == (True,))

        pooler = "CommandError: migrate takes locks that PgBouncer does not keep between statements"
        assert [each.startswith(pooler) for each in rejected] == [True, True]
        assert {*ledger.outcomes} <= {"201", "303", "page 200"}  # no request failed
        assert ledger.compare(database) == []
        direct = {"DATABASE_URL": node.conninfo, "SECRET_KEY": SECRET_KEY}
        assert manage("top_numbers", "--verify", **direct).communicate() == CLEAN
