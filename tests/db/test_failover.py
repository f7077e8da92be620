"""A synchronous standby: what is acknowledged is on it, also while it is stopped, and nothing else becomes visible."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients import submitting
from tests.db.test_database_faults import send, submissions
from tests.replication import DATABASE, USER, Node, replicated
from tests.service import SECRET_KEY, SHORT_DEADLINES, Service, eventually, manage, serving

CLIENTS = 6
MIN_ACKNOWLEDGED = 150  # submissions before and after the failover
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
    assert rejected == dict.fromkeys(SUBMISSIONS, "not-recorded")
    assert reads == dict.fromkeys(READS, 200)
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
        site.standby.promote()

        assert eventually(lambda: ledger.acknowledged >= lost_at + MIN_ACKNOWLEDGED)
        assert site.service.request("/health").json()["status"] == "ok"
    verified = manage("top_numbers", "--verify", **site.environment).communicate()
    with site.standby.connect() as database:
        assert ledger.compare(database) == []
    print(f"{ledger.acknowledged} acknowledged, {ledger.retries} sent again: {dict(ledger.outcomes)}")  # noqa: T201 - figures

    assert verified == ("All counts match the log.\n", "")
