"""A synchronous standby: what is acknowledged is on it, also while it is stopped, and nothing else becomes visible."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.clients import submitting
from tests.db.test_database_faults import outcome_of, submissions
from tests.replication import DATABASE, USER, Node, replicated
from tests.service import SECRET_KEY, Service, eventually, manage

CLIENTS = 6
MIN_ACKNOWLEDGED = 150  # submissions before and after the failover
POOL = 6  # the worker's connections, half of them for writes
WAITING = "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_type = 'client backend'"
RECORDED = "SELECT number, count(*) FROM fizzbuzz_submission GROUP BY 1 ORDER BY 1"
SUBMISSIONS = ["single", "batch", "keyed single"]
REPEATED = ["keyed single", "keyed batch"]
NUMBERS = {"single": 1, "batch": 2, "keyed single": 3, "keyed batch": 4}


class Replicated(NamedTuple):
    """A service with one worker, the primary that it uses, and the standby that each commit waits for."""

    primary: Node
    standby: Node
    service: Service
    environment: dict[str, str]

    def submit(self, *names: str) -> dict[str, str]:
        """Send these submissions at once, and return the status, or the outcome, of each."""
        requests = {name: submissions(NUMBERS[name])[name] for name in names}
        with ThreadPoolExecutor() as pool:
            sent = [pool.submit(self.service.request, *each[:2], **each[2]) for each in requests.values()]
            return dict(zip(requests, [outcome_of(each.result()) for each in sent], strict=True))

    def is_waited_for(self, commits: int) -> bool:
        return eventually(lambda: self.query(f"SELECT count(*) {WAITING}") == [(commits,)])

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self.primary.connect() as database:
            return database.execute(statement).fetchall()


@contextmanager
def replicated_service(data_dir: Path) -> Iterator[Replicated]:
    with replicated(data_dir) as (primary, standby):
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        environment = {
            "DATABASE_URL": f"postgresql://{USER}@{hosts}/{DATABASE}?target_session_attrs=read-write",
            "SECRET_KEY": SECRET_KEY,
        }
        service = Service("--migrate", **environment, WEB_CONCURRENCY="1", DATABASE_POOL_SIZE=str(POOL))
        try:
            yield Replicated(primary, standby, service, environment)
        finally:
            service.stop()


def test_failover_loses_no_acknowledged_submission(data_dir: Path) -> None:
    with replicated_service(data_dir) as (primary, standby, service, environment):
        with submitting(lambda: service.address, "failover", CLIENTS) as ledger:
            assert eventually(lambda: ledger.acknowledged >= MIN_ACKNOWLEDGED)

            primary.kill()
            lost_at = ledger.acknowledged
            standby.promote()

            assert eventually(lambda: ledger.acknowledged >= lost_at + MIN_ACKNOWLEDGED)
            assert service.request("/health").json()["status"] == "ok"
        verified = manage("top_numbers", "--verify", **environment).communicate()
        with standby.connect() as database:
            assert ledger.compare(database) == []
        print(f"{ledger.acknowledged} acknowledged, {ledger.retries} sent again: {dict(ledger.outcomes)}")  # noqa: T201 - figures

    assert verified == ("All counts match the log.\n", "")


def test_commits_that_wait_for_a_standby_are_bounded_and_reads_go_on(data_dir: Path) -> None:
    with replicated_service(data_dir) as site:
        site.standby.kill()

        first = site.submit(*SUBMISSIONS)
        again = [site.submit(*SUBMISSIONS) for _ in range(2)]
        reads = {path: site.service.request(path).status for path in ("/api/fizzbuzz", "/api/most_common", "/health")}
        waiting = site.query(f"SELECT count(*) {WAITING}")
        visible = site.query("SELECT count(*) FROM fizzbuzz_submission")
        site.standby.start()
        assert site.is_waited_for(0)
        recovered = [site.submit("keyed single"), site.submit("single")]
        recorded = site.query(RECORDED)
        site.primary.kill()
        site.standby.promote()
        promoted = site._replace(primary=site.standby).query(RECORDED)

    assert first == dict.fromkeys(SUBMISSIONS, "outcome-unknown")
    assert {*again[0].values(), *again[1].values()} <= {"not-recorded", "outcome-unknown", "409"}
    assert all(outcomes["single"] == "not-recorded" for outcomes in again)  # at once: its connection waits
    assert reads == dict.fromkeys(reads, 200)
    assert len(SUBMISSIONS) <= waiting[0][0] <= 1 + POOL // 2
    assert visible == [(0,)]
    assert recovered == [{"keyed single": "201"}, {"single": "201"}]
    assert recorded[0] == (1, 2)
    assert recorded[-1] == (3, 1)
    assert promoted == recorded


def test_repetition_is_acknowledged_only_with_rows_that_are_on_the_standby(data_dir: Path) -> None:
    """Rows whose commit does not wait any more are visible. A restart of the primary has the same effect."""
    numbers = data_dir / "numbers"
    numbers.write_text("5\n")
    with replicated_service(data_dir) as site, ThreadPoolExecutor() as pool:
        site.standby.kill()
        first = pool.submit(site.submit, *SUBMISSIONS, *REPEATED)
        assert site.is_waited_for(len({*SUBMISSIONS, *REPEATED}))
        site.query(f"SELECT pg_cancel_backend(pid) {WAITING}")
        unknown = [first.result(), site.submit(*REPEATED)]
        waiting = len(REPEATED)
        interrupted = manage("import_numbers", str(numbers), **site.environment)
        assert site.is_waited_for(waiting + 1)
        interrupted.send_signal(signal.SIGINT)
        messages = interrupted.communicate()
        visible = site.query(RECORDED)
        again = manage("import_numbers", str(numbers), **site.environment)
        assert site.is_waited_for(waiting + 1)
        site.standby.start()
        imported, _ = again.communicate()
        acknowledged = site.submit(*REPEATED)
        site.primary.kill()
        site.standby.promote()
        promoted = site._replace(primary=site.standby).query(RECORDED)

    assert unknown == [dict.fromkeys(names, "outcome-unknown") for names in ({*SUBMISSIONS, *REPEATED}, REPEATED)]
    assert "the wait for a standby was canceled. Run the same command again to resume." in messages[1]
    assert imported.startswith("This file was already imported: all 1 numbers")
    assert acknowledged == dict.fromkeys(REPEATED, "201")
    assert promoted == visible == [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1)]
