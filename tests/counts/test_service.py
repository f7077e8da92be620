"""The counts of a running service: its gauges, rows of others, a kill, and a move to another cluster."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections
from django.test import Client

from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.models import NumberCount
from fizzbuzz_site.embedded.server import DATABASE, USER, Server
from fizzbuzz_site.http import monitoring
from tests.fresh import a_second_later
from tests.log import append, assert_exact
from tests.marks import commits
from tests.service import eventually, processes, serving

pytestmark = commits


@contextmanager
def using(data_dir: Path) -> Iterator[Server]:
    """Connect the app to another embedded server within this context."""
    usual, embedded = connections["default"], settings.EMBEDDED
    own = {"NAME": DATABASE, "USER": USER, "PASSWORD": "", "HOST": "", "PORT": ""}
    connections["default"] = type(usual)({**usual.settings_dict, **own}, "default")
    settings.EMBEDDED = server = Server(data_dir)
    try:
        yield server
    finally:
        connection.close()
        connections["default"], settings.EMBEDDED = usual, embedded
        server.release()


def kill_nine(data_dir: Path) -> None:
    for pid in processes(data_dir):
        os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not processes(data_dir))


def test_counts_survive_a_kill_during_a_fold(data_dir: Path) -> None:
    def execute_and_kill(execute: Callable[..., Any], sql: str, *arguments: Any) -> None:
        """Kill the server before the fold's statement, and the second time after it, before its commit."""
        if sql == folding._FOLD and rows == 4:
            kill_nine(data_dir)
        execute(sql, *arguments)
        if sql == folding._FOLD:
            kill_nine(data_dir)

    with using(data_dir) as server:
        append(15, 15, 7)
        folding.fold()
        limit = folding.find_fold_limit()
        assert limit

        for rows in (4, 5):
            append(15)
            with pytest.raises(OperationalError), connection.execute_wrapper(execute_and_kill):
                folding.fold()
            connection.close()
            server.release()

            assert assert_exact() == rows
            assert NumberCount.objects.get(number=15).count == 2
            assert verify.verify() == []

        assert folding.fold_to(limit._replace(newest=5), 10) is None  # another server may use its ids again
        assert folding.fold() == 2
        assert ranking.top(3) == [(15, 4), (7, 1)]
        assert verify.verify() == []


def test_counts_survive_dump_and_restore_into_a_new_cluster(data_dir: Path) -> None:
    with using(data_dir) as old:
        for number in range(200):  # one transaction each, so that this cluster's transaction ids are far ahead
            append(number, 15)
        folding.fold()
        append(15, 7)
        assert assert_exact() == 402
        dump = Path(old.acquire()) / "dump"
        arguments = ("-h", old.acquire(), "-U", USER, "-d", DATABASE, "-f", str(dump))
        assert old.programs.run("pg_dump", "--no-owner", *arguments).stderr == ""
        text = dump.read_text()

    with using(data_dir / "new") as new:
        dump = Path(new.acquire()) / "dump"
        dump.write_text(text)
        dump.chmod(0o644)
        arguments = ("-h", new.acquire(), "-U", USER, "-d", DATABASE, "-f", str(dump))
        assert new.programs.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *arguments).stderr == ""

        assert (assert_exact(), verify.verify()) == (402, [])
        append(7, 8, 15)
        assert assert_exact() == 405
        assert folding.fold() == 5
        assert verify.verify() == []
        assert ranking.top(2) == [(15, 203), (7, 3)]


def sample(page: str, name: str) -> float | None:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


def test_metrics_include_the_gauges_of_the_database_while_it_is_available(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = client.get("/metrics").text
    append(15)
    folding.fold()
    append(15, 15, 7)
    a_second_later()
    after = client.get("/metrics").text
    a_second_later()
    monkeypatch.setattr(monitoring, "connect_with_deadline", Mock(side_effect=psycopg.OperationalError))
    unavailable = client.get("/metrics").text

    tails, ages = (
        [sample(page, name) for page in (before, after, unavailable)]
        for name in ("fizzbuzz_tail_rows", "fizzbuzz_last_fold_age_seconds")
    )
    assert (tails, ages) == ([0, 3, None], [None, pytest.approx(30, abs=30), None])
    assert "fizzbuzz_fold_seconds_bucket" in unavailable


def test_idle_service_folds_rows_of_other_processes(data_dir: Path) -> None:
    """While the tail is too long to be read in time, reads return 503. Folds may be faster than the first read."""
    rows = ranking.MAX_TAIL_ROWS + folding.MAX_ROWS_PER_FOLD
    insert = "INSERT INTO fizzbuzz_submission (number) SELECT mod(i, 1000) FROM generate_series(1, %s) AS i"
    through = "SELECT through FROM fizzbuzz_watermark"
    server = Server(data_dir)
    with (
        serving(DATA_DIR=str(data_dir), WEB_CONCURRENCY="2") as service,
        psycopg.connect(host=server.acquire(), user=USER, dbname=DATABASE, autocommit=True) as database,
    ):
        database.execute(insert, [rows])
        answers = []

        def caught_up() -> bool:
            answers.append(service.request("/api/most_common?limit=1"))
            return answers[-1].status == 200 and database.execute(through).fetchone() == (rows,)

        assert eventually(caught_up)
        assert eventually(lambda: sample(service.request("/metrics").body, "fizzbuzz_tail_rows") == 0)
    server.release()

    assert {answer.json()[0]["count"] for answer in answers if answer.status == 200} == {rows // 1000}
    assert {
        re.sub(r"[0-9,]+ rows", "N rows", answer.json()["detail"]) for answer in answers if answer.status != 200
    } <= {"The counts are catching up with the log: N rows remain. Try again in a moment."}
