"""Failover under load: the primary is killed, the standby promoted, and the service reconnects."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.clients import submitting
from tests.replication import DATABASE, USER, replicated
from tests.service import SECRET_KEY, Service, eventually, manage

CLIENTS = 6
MIN_ACKNOWLEDGED = 150  # submissions before and after the failover


def test_failover_loses_no_acknowledged_submission(data_dir: Path) -> None:
    with replicated(data_dir) as (primary, standby), ExitStack() as at_the_end:  # of a test that fails too
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        environment = {
            "DATABASE_URL": f"postgresql://{USER}@{hosts}/{DATABASE}?target_session_attrs=read-write",
            "SECRET_KEY": SECRET_KEY,
        }
        service = Service("--migrate", **environment)
        at_the_end.callback(service.process.terminate)
        with submitting(lambda: service.address, "failover", CLIENTS) as ledger:
            assert eventually(lambda: ledger.acknowledged >= MIN_ACKNOWLEDGED)

            primary.kill()
            lost_at = ledger.acknowledged
            standby.promote()

            assert eventually(lambda: ledger.acknowledged >= lost_at + MIN_ACKNOWLEDGED)
            assert service.request("/health").json()["status"] == "ok"
        verified = manage("top_numbers", "--verify", **environment).communicate()
        assert verified == ("All counts match the log.\n", "")
        with standby.connect() as database:
            assert ledger.compare(database) == []
        code, _ = service.stop()
        assert code == 0
        print(f"{ledger.acknowledged} acknowledged, {ledger.retries} sent again: {dict(ledger.outcomes)}")  # noqa: T201 - figures
