"""What a provider sets for a role or database does not change what the service does, nor does a PgBouncer before it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from fizzbuzz.db.base import SESSION
from fizzbuzz.db.deadline import FIRST_WITH_TRANSACTION_TIMEOUT, connect_with_deadline
from fizzbuzz.submissions import record
from tests.clients import submitting
from tests.marks import commits
from tests.proxy import free_port, listens
from tests.replication import DATABASE, UNPRIVILEGED, USER, Node, single
from tests.service import ROOT, SECRET_KEY, eventually, manage, serving

PGBOUNCER = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
SERVER_CONNECTIONS = 3  # fewer than the service's own, so that they are shared
SHIPPED = ROOT / "deploy/pgbouncer/pgbouncer.ini"
CLIENTS = 6
MIN_ACKNOWLEDGED = 200  # submissions
TAIL = "SELECT (SELECT max(id) FROM fizzbuzz_submission) - through FROM fizzbuzz_watermark"
PATHS = ["/", "/live", "/stats", "/stats/submissions.csv", "/numbers/15", "/info", "/health", "/metrics"]
PATHS += ["/api/fizzbuzz?kind=Fizz", "/api/most_common?since=2026-01-01"]
PROVIDERS_SETTINGS = {
    "DateStyle": "SQL, DMY",
    "TimeZone": "Asia/Kolkata",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "client_min_messages": "error",
    "IntervalStyle": "iso_8601",
    "jit": "on",
    "max_parallel_workers_per_gather": "4",
}


@pytest.fixture
def _provider() -> Iterator[None]:
    with connection.cursor() as cursor:
        for name, value in PROVIDERS_SETTINGS.items():
            cursor.execute(f"ALTER ROLE CURRENT_USER SET {name} = '{value}'")
        if connection.connection.info.server_version >= FIRST_WITH_TRANSACTION_TIMEOUT:
            cursor.execute("ALTER ROLE CURRENT_USER SET transaction_timeout = '1min'")
    connection.close()
    record.inserter.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER ROLE CURRENT_USER RESET ALL")


@commits
@pytest.mark.usefixtures("_provider")
def test_settings_of_a_role_have_no_effect(client: Client) -> None:
    expected = {
        **SESSION,
        "DateStyle": "ISO, MDY",
        "TimeZone": "UTC",
        "default_transaction_isolation": "read committed",
    }
    assert expected.keys() >= PROVIDERS_SETTINGS.keys()
    with connection.cursor() as cursor:
        for name, value in expected.items():
            cursor.execute(f"SHOW {name}")
            assert (name, *cursor.fetchone()) == (name, value)
    with connect_with_deadline(1) as private:
        assert private.execute("SHOW DateStyle").fetchone() == ("ISO, MDY",)
        assert private.execute("SHOW statement_timeout").fetchone() == ("900ms",)
        transaction_timeout = "SELECT setting FROM pg_settings WHERE name = 'transaction_timeout'"
        assert private.execute(transaction_timeout).fetchone() in {None, ("0",)}

    for path, body in (("/api/fizzbuzz", {"number": 15}), ("/api/fizzbuzz/batch", {"numbers": [15, 16]})):
        for headers in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
            assert client.post(path, body, "application/json", headers=headers).status_code == 201
    assert {path: client.get(path).status_code for path in PATHS} == dict.fromkeys(PATHS, 200)
    call_command("migrate", verbosity=0)
    call_command("top_numbers", "--verify")


def test_pgbouncer_sets_what_it_accepts_from_no_client() -> None:
    shipped = SHIPPED.read_text().replace("''read committed''", r"read\ committed")

    assert [name for name, value in SESSION.items() if f"SET {name} = {value}" not in shipped] == []


@contextmanager
def pooling(node: Node) -> Iterator[str]:
    """Run PgBouncer before `node`, and return the URL to connect through it."""
    folder, port = node.folder.with_name("pgbouncer"), free_port()
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "users").write_text(f'"{USER}" ""\n')
    ours = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "auth_type": "trust",
        "auth_file": str(folder / "users"),
        "default_pool_size": str(SERVER_CONNECTIONS),
    }
    configuration = SHIPPED.read_text().replace("host=db port=5432", f"host=127.0.0.1 port={node.port}")
    for name, value in ours.items():
        configuration, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", configuration, flags=re.MULTILINE)
        assert count == 1, name
    (folder / "pgbouncer.ini").write_text(configuration + "\nunix_socket_dir =\n")
    assert PGBOUNCER
    command = [PGBOUNCER, "--quiet", str(folder / "pgbouncer.ini")]
    process = subprocess.Popen(command, **UNPRIVILEGED, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: listens(port))
        yield f"postgresql://{USER}@127.0.0.1:{port}/{DATABASE}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(PGBOUNCER is None, reason="needs a pooler: apt-get install pgbouncer")
def test_service_works_through_pgbouncer(data_dir: Path) -> None:
    with single(data_dir) as node, pooling(node) as url, node.connect() as database:
        pooled = {"DATABASE_URL": url, "SECRET_KEY": SECRET_KEY, "TRANSACTION_POOLING": "1", "METRICS_PUBLIC": "1"}
        migrating = [manage(*each, **pooled) for each in (["migrate"], ["serve", "--migrate"])]
        rejected = [each.communicate()[1] for each in migrating]
        locks = database.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        for name, value in PROVIDERS_SETTINGS.items():
            database.execute(f"ALTER ROLE {USER} SET {name} = '{value}'")
        with serving(**pooled) as service:
            with submitting(lambda: service.address, "pooled", CLIENTS) as ledger:
                assert eventually(lambda: ledger.acknowledged >= MIN_ACKNOWLEDGED)
            statuses = {path: service.request(path).status for path in PATHS}
            assert eventually(lambda: database.execute(TAIL).fetchone() == (0,))
        verified = manage("top_numbers", "--verify", DATABASE_URL=node.conninfo, SECRET_KEY=SECRET_KEY).communicate()

        pooler = "CommandError: migrate takes locks that PgBouncer does not keep between statements"
        assert [each.startswith(pooler) for each in rejected] == [True, True]
        assert locks == (0,)
        assert {*ledger.outcomes} <= {"201", "303", "page 200"}  # no request failed
        assert statuses == dict.fromkeys(PATHS, 200)
        assert ledger.compare(database) == []
        assert verified == ("All counts match the log.\n", "")
