"""Deployments under load: a rolling restart, and a rolling upgrade from the previous release with reloads."""

import itertools
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import psycopg
import pytest

from tests.clients import Ledger, submitting
from tests.proxy import free_port, needs_nginx, proxying, reload
from tests.replication import Node, single
from tests.service import ROOT, SECRET_KEY, Service, collect_static, eventually, manage, start

PREVIOUS_RELEASE = "f060d158cdf3c72fef3ec66e1044e0f1a603bf23"
ENVIRONMENT = {"SECRET_KEY": SECRET_KEY, "WEB_CONCURRENCY": "1"}
CLIENTS = 4
MIN_ACKNOWLEDGED = 40  # submissions in each phase
RELOADS = 2
SCHEMA = """
    SELECT table_name::text, column_name || ' ' || data_type, ordinal_position || is_nullable, column_default,
        identity_generation
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT tablename, indexname, indexdef, NULL, NULL FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), NULL, NULL
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    ORDER BY 1, 2, 3
"""


@contextmanager
def under_load(database: str, *addresses: str, **weights: int) -> Iterator[tuple[Ledger, list[str]]]:
    """Send with keys to each address in turn; at the end, check that nothing was lost or recorded twice.

    Yield the ledger and the addresses, which may be changed.
    """
    current, turn = [*addresses], itertools.count()
    with submitting(lambda: current[next(turn) % len(current)], "rolling", CLIENTS, without_key=0, **weights) as ledger:
        yield ledger, current
    with psycopg.connect(database) as connection:
        assert ledger.compare(connection) == []


def some_more(ledger: Ledger) -> bool:
    enough = ledger.acknowledged + MIN_ACKNOWLEDGED
    return eventually(lambda: ledger.acknowledged >= enough)


def answered(ledger: Ledger) -> set[str]:
    """Return the outcomes that the clients met, except connections lost before any byte of a response."""
    return {*ledger.outcomes} - {"connection lost", "page connection lost"}


@needs_nginx
def test_rolling_restart_behind_a_proxy_fails_no_request(data_dir: Path) -> None:
    with single(data_dir) as node, ExitStack() as at_the_end:

        def start(port: int) -> Service:
            service = Service("--migrate", PORT=str(port), **ENVIRONMENT, DATABASE_URL=node.conninfo)
            at_the_end.callback(service.stop)
            return service

        ports = [free_port(), free_port()]
        instances = [start(port) for port in ports]
        proxy = at_the_end.enter_context(proxying(*ports))
        with under_load(node.conninfo, f"http://127.0.0.1:{proxy.port}") as (ledger, _):
            for index, instance in enumerate(instances):
                assert some_more(ledger)
                # A closing socket resets the connections in its queue, so first stop sending any to it.
                proxy.lead_to(ports[1 - index])
                assert instance.stop() == (0, "")
                start(ports[index])
                proxy.lead_to(*ports)
            assert some_more(ledger)

    assert answered(ledger) == {"201", "303", "page 200"}


def schema_of(node: Node) -> list[tuple[object, ...]]:
    with node.connect() as database:
        return database.execute(SCHEMA).fetchall()


def extract_previous_release(folder: Path) -> None:
    archive = subprocess.run(["git", "archive", PREVIOUS_RELEASE], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"needs the project's history to get the previous release: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def test_both_releases_serve_through_the_migration_and_a_reload(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract_previous_release(tmp_path)
    collect_static(tmp_path)

    with single(data_dir, empty=True) as node, ExitStack() as at_the_end:  # of a test that fails too
        environment = ENVIRONMENT | {"DATABASE_URL": node.conninfo}
        assert start(["migrate", "--verbosity", "0"], environment, code=tmp_path).communicate() == ("", "")
        with monkeypatch.context() as previous:
            previous.setattr(Service, "code", tmp_path)
            old = Service(**environment)
        at_the_end.callback(old.process.terminate)
        with under_load(node.conninfo, old.address, form=0) as (ledger, addresses):
            assert some_more(ledger)
            assert manage("migrate", "--verbosity", "0", **environment).communicate() == ("", "")
            assert some_more(ledger)  # the old release with the new schema
            new = Service(**environment)
            at_the_end.callback(new.process.terminate)
            addresses.append(new.address)
            assert some_more(ledger)
            assert {old.request("/health").status, new.request("/health").status} == {200}
            addresses.remove(old.address)
            assert some_more(ledger)
            assert old.stop() == (0, "")
            for _ in range(RELOADS):
                reload(new.process)
                assert some_more(ledger)

        assert answered(ledger) == {"201"}
        assert manage("top_numbers", "--verify", **environment).communicate() == ("All counts match the log.\n", "")
        assert new.stop() == (0, "")

        upgraded = schema_of(node)
        with node.connect() as database:
            database.execute("DROP SCHEMA public CASCADE")
            database.execute("CREATE SCHEMA public")
        assert manage("migrate", "--verbosity", "0", **environment).communicate() == ("", "")
        assert upgraded == schema_of(node)
        assert {"fizzbuzz_submission", "fizzbuzz_watermark"} < {name for name, *_ in upgraded}
