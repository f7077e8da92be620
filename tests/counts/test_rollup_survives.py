"""Counts survive a kill, a move to another cluster, and the releases before them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError, connection, connections

from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.models import NumberCount
from fizzbuzz_site.embedded.server import DATABASE, USER, Server
from tests.log import append, assert_exact
from tests.marks import commits
from tests.service import eventually, processes

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
    def before(execute: Callable[..., Any], sql: str, *arguments: Any) -> None:
        if sql == folding._FOLD:
            kill_nine(data_dir)
        execute(sql, *arguments)

    def after(execute: Callable[..., Any], sql: str, *arguments: Any) -> None:
        execute(sql, *arguments)
        if sql == folding._FOLD:
            kill_nine(data_dir)

    with using(data_dir) as server:
        call_command("migrate", verbosity=0)
        append(15, 15, 7)
        folding.fold()

        for rows, moment in enumerate((before, after), start=4):
            append(15)
            with pytest.raises(OperationalError), connection.execute_wrapper(moment):
                folding.fold()
            connection.close()
            server.release()

            assert assert_exact() == rows
            assert NumberCount.objects.get(number=15).count == 2
            assert verify.verify() == []

        assert folding.fold() == 2
        assert ranking.top(3) == [(15, 4), (7, 1)]
        assert verify.verify() == []


def test_counts_survive_dump_and_restore_into_a_new_cluster(data_dir: Path) -> None:
    with using(data_dir / "old") as old:
        call_command("migrate", verbosity=0)
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

        assert assert_exact() == 402
        assert verify.verify() == []
        append(7, 8, 15)
        assert assert_exact() == 405
        assert folding.fold() == 5
        assert verify.verify() == []
        assert ranking.top(2) == [(15, 203), (7, 3)]
