"""Counts survive a kill, a move to another cluster, and the releases before them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connection, connections

from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.models import NumberCount, Watermark
from fizzbuzz_site.embedded.server import DATABASE, USER, Server
from tests.log import INSERT, OLD_FOLD, another, append, assert_exact
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


def test_migration_counts_a_log_during_concurrent_writes() -> None:
    call_command("migrate", "fizzbuzz", "0001", verbosity=0)
    append(15, 15, 7)

    with another() as late, ThreadPoolExecutor(1) as pool:
        late.execute(INSERT, [[7]])
        append(15)
        migration = pool.submit(migrate)
        assert eventually(lambda: is_waiting("pg_sleep") or migration.done())
        append(9)
        late.commit()
        migration.result()

    through = Watermark.objects.get().through
    assert NumberCount.objects.get(number=15).count == 3
    assert NumberCount.objects.get(number=7).count == 2
    assert verify.verify() == []
    assert assert_exact() == 6
    assert folding.fold() == 1
    assert Watermark.objects.get().through == through + 1
    assert verify.verify() == []


def test_migration_counts_minutes_while_the_previous_release_folds() -> None:
    call_command("migrate", "fizzbuzz", "0005", verbosity=0)
    append(15, 7)
    fold_as_before()
    append(3)
    call_command("migrate", "fizzbuzz", "0006", verbosity=0)
    fold_as_before()
    append(5)
    call_command("migrate", verbosity=0)
    migrated = Watermark.objects.values_list("through", "minutes_through").get()
    fold_as_before()
    append(15)

    assert migrated[0] == migrated[1] > 0
    assert verify.verify() == []
    assert assert_exact() == 5
    assert folding.fold() == 2
    assert verify.verify() == []
    assert assert_exact() == 5


def test_migration_fails_if_the_new_release_has_already_folded() -> None:
    call_command("migrate", "fizzbuzz", "0006", verbosity=0)
    append(15, 7)
    fold_as_before()
    through = Watermark.objects.get().through

    with another() as folder, ThreadPoolExecutor(1) as pool:
        folder.execute(folding._FOLD, {"through": through, "minutes_through": 0, "newest": through, "max_rows": 2_000})
        migration = pool.submit(migrate)
        assert eventually(lambda: is_waiting("transactionid") or migration.done())
        folder.commit()
        with pytest.raises(DatabaseError, match="Nothing was changed: run migrate again"):
            migration.result()

    assert verify.verify() == []
    call_command("migrate", verbosity=0)
    assert verify.verify() == []
    assert assert_exact() == 2


def test_migration_of_an_empty_log_leaves_the_watermark_to_the_first_fold() -> None:
    call_command("migrate", "fizzbuzz", "0001", verbosity=0)
    call_command("migrate", verbosity=0)

    assert Watermark.objects.count() == 0
    assert ranking.top(3) == []


def test_planner_settings_are_stored_in_the_database() -> None:
    with another() as database:
        assert database.execute("SHOW max_parallel_workers_per_gather").fetchone() == ("0",)
        assert database.execute("SHOW jit").fetchone() == ("off",)


def fold_as_before() -> None:
    with connection.cursor() as cursor:
        cursor.execute(OLD_FOLD)


def migrate() -> None:
    try:
        call_command("migrate", verbosity=0)
    finally:
        connection.close()


def is_waiting(event: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE lower(wait_event) = %s", [event.replace("_", "")])
        (count,) = cursor.fetchone()
    return bool(count)
