"""Deployments under load: a rolling restart, a reload, and a rolling upgrade from the previous release."""

import itertools
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import Server
from tests.clients import Ledger, submitting
from tests.proxy import free_port, needs_nginx, proxying, reload
from tests.replication import single
from tests.service import ROOT, SECRET_KEY, Service, collect_static, eventually, manage, manage_in, serving, url_of

PREVIOUS_RELEASE = "f060d158cdf3c72fef3ec66e1044e0f1a603bf23"
CLIENTS = 4
MIN_ACKNOWLEDGED = 100  # submissions in each phase
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


class Previous(Service):
    """An instance of the previous release."""


@contextmanager
def under_load(database: str, *addresses: str, **weights: int) -> Iterator[tuple[Ledger, list[str]]]:
    """Send with keys to each address in turn; at the end, check that nothing was lost or recorded twice.

    Yield the ledger and the addresses, which may be changed.
    """
    current, turn = [*addresses], itertools.count()
    with submitting(lambda: current[next(turn) % len(current)], "rolling", CLIENTS, without_key=0, **weights) as ledger:
        yield ledger, current
    print(f"{ledger.acknowledged} submissions, {ledger.retries} sent again: {dict(ledger.outcomes)}")  # noqa: T201 - figures
    with psycopg.connect(database) as connection:
        assert ledger.compare(connection) == []


def some_more(ledger: Ledger) -> bool:
    enough = ledger.acknowledged + MIN_ACKNOWLEDGED
    return eventually(lambda: ledger.acknowledged >= enough)


def answered(ledger: Ledger) -> set[str]:
    """Return the outcomes that the clients met, except connections lost before any byte of a response."""
    return {*ledger.outcomes} - {"connection lost", "page connection lost"}


def ended(*instances: Service) -> None:
    for instance in instances:
        instance.process.terminate()
        instance.process.communicate(timeout=60)


@needs_nginx
def test_rolling_restart_behind_a_proxy_fails_no_request(database_url: str) -> None:
    def start(port: int) -> Service:
        return Service("--migrate", PORT=str(port), DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)

    ports = [free_port(), free_port()]
    instances = [start(port) for port in ports]
    with ExitStack() as at_the_end:
        at_the_end.callback(lambda: ended(*instances))
        proxy = at_the_end.enter_context(proxying(*ports))
        with under_load(database_url, f"http://127.0.0.1:{proxy.port}") as (ledger, _):
            for index, instance in enumerate(instances):
                assert some_more(ledger)
                # A closing socket resets the connections in its queue, so first stop sending any to it.
                proxy.lead_to(ports[1 - index])
                assert instance.stop() == (0, "")
                instances[index] = start(ports[index])
                proxy.lead_to(*ports)
            assert some_more(ledger)

    assert answered(ledger) == {"201", "303", "page 200"}


def test_reload_fails_no_request(data_dir: Path) -> None:
    with (
        serving(DATA_DIR=str(data_dir)) as service,
        under_load(url_of(Server(data_dir).host), service.address) as (ledger, _),
    ):
        for _ in range(RELOADS):
            assert some_more(ledger)
            reload(service.process)
        assert some_more(ledger)

    assert answered(ledger) == {"201", "303", "page 200"}


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
    with single(data_dir, empty=True) as node, ExitStack() as at_the_end:  # of a test that fails too
        environment = {"DATABASE_URL": node.conninfo, "SECRET_KEY": SECRET_KEY}
        assert manage_in(previous, "migrate", "--verbosity", "0", **environment).communicate() == ("", "")
        monkeypatch.setattr(Previous, "code", previous)
        old = Previous(**environment)
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

        verified = manage("top_numbers", "--verify", **environment).communicate()
        assert verified == ("All counts match the log.\n", "")
        assert answered(ledger) == {"201"}
        assert new.stop() == (0, "")


def test_upgraded_database_has_the_schema_of_a_new_one(data_dir: Path, previous: Path) -> None:
    with single(data_dir, empty=True) as node:
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
