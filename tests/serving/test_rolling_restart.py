"""Deployments under load: a rolling restart of two instances behind nginx, and a reload of a single instance."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import Server
from tests.clients import Ledger, submitting
from tests.proxy import free_port, needs_nginx, proxying, reload
from tests.service import SECRET_KEY, Service, eventually, serving, url_of

CLIENTS = 4
MIN_ACKNOWLEDGED = 100  # submissions before, between and after the restarts
RELOADS = 2


@contextmanager
def under_load(database: str, address: str) -> Iterator[Ledger]:
    """Run clients that send with keys; at the end, check that nothing was lost or recorded twice."""
    with submitting(lambda: address, "restart", CLIENTS, without_key=0) as ledger:
        yield ledger
    print(f"{ledger.acknowledged} submissions, {ledger.retries} sent again: {dict(ledger.outcomes)}")  # noqa: T201 - figures
    with psycopg.connect(database) as connection:
        assert ledger.compare(connection) == []


def some_more(ledger: Ledger) -> Callable[[], bool]:
    enough = ledger.acknowledged + MIN_ACKNOWLEDGED
    return lambda: ledger.acknowledged >= enough


def answered(ledger: Ledger) -> set[str]:
    """Return the outcomes that the clients met, except connections lost before any byte of a response."""
    return {*ledger.outcomes} - {"connection lost", "page connection lost"}


@pytest.fixture
def database(data_dir: Path) -> Iterator[str]:
    server = Server(data_dir)
    yield url_of(server.acquire())
    server.release()


@needs_nginx
def test_rolling_restart_behind_a_proxy_fails_no_request(data_dir: Path, database: str) -> None:
    environment = {"DATABASE_URL": database, "SECRET_KEY": SECRET_KEY}

    def start(port: int) -> Service:
        return Service("--migrate", PORT=str(port), **environment)

    ports = [free_port(), free_port()]
    instances = [start(port) for port in ports]
    with (
        _ended(instances),
        proxying(*ports) as proxy,
        under_load(database, f"http://127.0.0.1:{proxy.port}") as ledger,
    ):
        for index, instance in enumerate(instances):
            assert eventually(some_more(ledger))
            # A closing socket resets the connections in its queue, so first stop sending any to it.
            proxy.lead_to(ports[1 - index])
            assert instance.stop() == (0, "")
            instances[index] = start(ports[index])
            proxy.lead_to(*ports)
        assert eventually(some_more(ledger))

    assert answered(ledger) == {"201", "303", "page 200"}


def test_reload_fails_no_request(data_dir: Path) -> None:
    with serving(DATA_DIR=str(data_dir)) as service:
        url = url_of(Server(data_dir).host)
        with under_load(url, service.address) as ledger:
            for _ in range(RELOADS):
                assert eventually(some_more(ledger))
                reload(service.process)
            assert eventually(some_more(ledger))

        assert answered(ledger) == {"201", "303", "page 200"}


@contextmanager
def _ended(instances: list[Service]) -> Iterator[None]:
    try:
        yield
    finally:
        for instance in instances:
            instance.process.terminate()
            instance.process.communicate(timeout=60)
