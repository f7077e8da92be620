"""Failover under load: the primary is killed, the standby promoted, and the service reconnects."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.clients import Client, Ledger
from tests.replication import DATABASE, USER, replicated
from tests.service import Service, eventually, manage

CLIENTS = 6
MIN_ACKNOWLEDGED = 150  # submissions before and after the failover


def test_failover_loses_no_acknowledged_submission(data_dir: Path) -> None:
    with replicated(data_dir) as (primary, standby), ExitStack() as at_the_end:  # of a test that fails too
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        environment = {
            "DATABASE_URL": f"postgresql://{USER}@{hosts}/{DATABASE}?target_session_attrs=read-write",
            "SECRET_KEY": "of a test",
        }
        service = Service("--migrate", **environment)
        at_the_end.callback(service.process.terminate)
        ledger = Ledger()
        at_the_end.callback(ledger.closed.set)
        clients = [Client(ledger, lambda: service.address, f"failover {index}") for index in range(CLIENTS)]
        for client in clients:
            client.start()
        assert eventually(lambda: ledger.acknowledged >= MIN_ACKNOWLEDGED)

        primary.kill()
        lost_at = ledger.acknowledged
        standby.promote()

        assert eventually(lambda: ledger.acknowledged >= lost_at + MIN_ACKNOWLEDGED)
        assert service.request("/health").json()["status"] == "ok"
        ledger.closed.set()
        for client in clients:
            client.join(timeout=60)
        assert not any(client.is_alive() for client in clients)
        verified = manage("top_numbers", "--verify", **environment).communicate()
        assert verified == ("All counts match the log.\n", "")
        with standby.connect() as database:
            assert ledger.compare(database) == []
        code, _ = service.stop()
        assert code == 0
        print(f"{ledger.acknowledged} acknowledged, {ledger.retries} sent again: {dict(ledger.outcomes)}")  # noqa: T201 - figures
