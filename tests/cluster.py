"""A PostgreSQL server for a service with DATABASE_URL, which the test can stop and suspend."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from fizzbuzz_site.embedded.server import Server
from tests.service import children, url_of

SETTINGS = "max_connections = 16\nautovacuum = off\n"  # few connections, and none taken by autovacuum


class Cluster:
    def __init__(self, data_dir: Path) -> None:
        self._server = Server(data_dir)
        self.start()
        with (self._data / "postgresql.auto.conf").open("a") as settings:
            settings.write(SETTINGS)
        self.stop()
        self.start()
        self.url = url_of(self._server.host)

    @property
    def _data(self) -> Path:
        return self._server.home.resolve() / "data"

    def start(self) -> None:
        self._server.acquire()

    def stop(self) -> None:
        self._server.release()

    def processes(self) -> list[int]:
        postmaster = int((self._data / "postmaster.pid").read_text().partition("\n")[0])
        return [postmaster, *children(postmaster)]

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.url, autocommit=True)

    def times(self, number: int) -> int:
        with self.connect() as database:
            (count,) = database.execute("SELECT count(*) FROM fizzbuzz_submission WHERE number = %s", [number])
        return int(count[0])

    def is_folded(self) -> bool:
        folded = "SELECT through >= (SELECT max(id) FROM fizzbuzz_submission) FROM fizzbuzz_watermark"
        with self.connect() as database:
            return database.execute(folded).fetchone() == (True,)


@contextmanager
def stopped(cluster: Cluster) -> Iterator[None]:
    cluster.stop()
    yield
    cluster.start()


@contextmanager
def hung(cluster: Cluster) -> Iterator[None]:
    pids = cluster.processes()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
