"""Rolling upgrade: the previous and this release serve one database concurrently, before and after `migrate`."""

import itertools
import subprocess
import tarfile
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import psycopg
import pytest

from tests.clients import Ledger, submitting
from tests.replication import single
from tests.service import ROOT, SECRET_KEY, Service, collect_static, eventually, manage, manage_in

PREVIOUS_RELEASE = "f060d158cdf3c72fef3ec66e1044e0f1a603bf23"
CLIENTS = 4
MIN_ACKNOWLEDGED = 150  # submissions in each phase


SCHEMA = """
    SELECT table_name::text, column_name || ' ' || data_type, ordinal_position || is_nullable, column_default,
        identity_generation
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename, indexname, indexdef, NULL, NULL FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3
"""


class Previous(Service):
    """An instance of the previous release."""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the code of the previous release."""
    archive = subprocess.run(["git", "archive", PREVIOUS_RELEASE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"needs the project's history to get the previous release: {archive.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    collect_static(folder)
    return folder


def test_both_releases_serve_through_the_migration(
    data_dir: Path, previous: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with single(data_dir) as node, ExitStack() as at_the_end:  # of a test that fails too
        environment = {"DATABASE_URL": node.conninfo, "SECRET_KEY": SECRET_KEY}
        assert manage_in(previous, "migrate", "--verbosity", "0", **environment).communicate() == ("", "")
        monkeypatch.setattr(Previous, "code", previous)
        old = Previous(**environment)
        at_the_end.callback(old.process.terminate)
        addresses = [old.address]
        turn = itertools.count()
        with submitting(
            lambda: addresses[next(turn) % len(addresses)], "upgrade", CLIENTS, form=0, without_key=0
        ) as ledger:
            assert _some_more(ledger)
            assert manage("migrate", "--verbosity", "0", **environment).communicate() == ("", "")
            assert _some_more(ledger)  # the old release with the new schema
            new = Service(**environment)
            at_the_end.callback(new.process.terminate)
            addresses.append(new.address)
            assert _some_more(ledger)
            assert {old.request("/health").status, new.request("/health").status} == {200}
            addresses.remove(old.address)
            assert _some_more(ledger)
            assert old.stop() == (0, "")

        verified = manage("top_numbers", "--verify", **environment).communicate()
        assert verified == ("All counts match the log.\n", "")
        with psycopg.connect(node.conninfo) as database:
            assert ledger.compare(database) == []
        assert {*ledger.outcomes} <= {"201", "connection lost"}
        assert new.stop() == (0, "")


def test_upgraded_database_has_the_schema_of_a_new_one(data_dir: Path, previous: Path) -> None:
    with single(data_dir) as node:
        environment = {"DATABASE_URL": node.conninfo, "SECRET_KEY": SECRET_KEY}
        schemas = []
        for releases in ([previous, ROOT], [ROOT]):
            for code in releases:
                assert manage_in(code, "migrate", "--verbosity", "0", **environment).communicate() == ("", "")
            with psycopg.connect(node.conninfo) as database:
                schemas.append(database.execute(SCHEMA).fetchall())
                database.execute("DROP SCHEMA public CASCADE")
                database.execute("CREATE SCHEMA public")

    upgraded, new = schemas
    assert upgraded == new
    assert {"fizzbuzz_submission", "fizzbuzz_watermark"} < {name for name, *_ in new}


def _some_more(ledger: Ledger) -> bool:
    enough = ledger.acknowledged + MIN_ACKNOWLEDGED
    return eventually(lambda: ledger.acknowledged >= enough)
