"""The service on a Citus cluster: CITUS_URL names a database on its coordinator, whose tables are dropped."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clients import submitting
from tests.service import ROOT, SECRET_KEY, collect_static, eventually, manage, serving

CITUS_URL = os.environ.get("CITUS_URL", "")
CLIENTS = 6
ENOUGH = 300  # acknowledged submissions
NUMBER = {"number": 10**9}  # none of these clients'

pytestmark = [
    pytest.mark.citus,
    pytest.mark.slow,
    pytest.mark.skipif(not CITUS_URL, reason="needs a Citus cluster: set CITUS_URL to a database named …_test on it"),
]
SETTINGS = {"DATABASE_URL": CITUS_URL, "SECRET_KEY": SECRET_KEY}
TAIL = "SELECT (SELECT max(id) FROM fizzbuzz_submission) - through FROM fizzbuzz_watermark"
WORKERS = "SELECT node_name, node_port FROM citus_get_active_worker_nodes() ORDER BY 2"
# What the other tests ask of a plain PostgreSQL, but for its query plans.
FEATURES = [
    *(f"tests/api/test_{name}.py" for name in ("counts", "fizzbuzz", "log")),
    *(f"tests/counts/test_{name}.py" for name in ("reads", "rollup", "rollup_storm")),
    *(f"tests/pages/test_{name}.py" for name in ("number_page", "pages", "stats")),
    *(f"tests/submissions/test_{name}.py" for name in ("idempotency", "recording")),
    *("tests/commands", "tests/test_admin.py"),
]


def connect(**other: Any) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(CITUS_URL, autocommit=True, **other)


def distribute(*options: str, **environment: str) -> str:
    return "".join(manage("distribute", *options, **{**SETTINGS, **environment}).communicate())


@pytest.fixture(scope="module")
def _distributed() -> None:
    """Distribute the log of an emptied database, and compare what each step reports."""
    collect_static()
    with connect() as database:
        assert database.info.dbname.endswith("_test"), "CITUS_URL must name a database for tests, such as fizzbuzz_test"
        for (table,) in database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall():
            database.execute(f'DROP TABLE IF EXISTS "{table}" CASCADE')
        assert "run manage.py migrate first" in distribute()
        assert manage("migrate", "--verbosity", "0", **SETTINGS).communicate() == ("", "")
        workers = [f"{host}:{port}" for host, port in database.execute(WORKERS)]
        database.execute("INSERT INTO fizzbuzz_submission (number) SELECT unnest(ARRAY[-15, -15, -3])")
        plan = f"in 8 shards on {', '.join(workers)}."
        assert plan in distribute("--dry-run")
        assert "would leave some of the 2 workers empty" in distribute("--shards", "1")
        with psycopg.connect(CITUS_URL) as writer:
            writer.execute("INSERT INTO fizzbuzz_submission (number) VALUES (-7)")
            assert "Nothing was changed" in distribute()
        assert database.execute("SELECT count(*) FROM citus_tables").fetchone() == (0,)
        with psycopg.connect(CITUS_URL) as reader:
            reader.execute("SELECT count(*) FROM fizzbuzz_submission")
            report = distribute()
        assert plan in report
        assert "Free the space later" in report
        database.execute(report.rpartition("later: ")[2])
        assert database.execute("SELECT pg_relation_size('fizzbuzz_submission')").fetchone() == (0,)
        assert distribute() == "The log is distributed already: distributed, by id, in 8 shards.\n"
        assert "This cannot be changed" in distribute("--shards", "4")
        numbers = database.execute("SELECT number FROM fizzbuzz_submission ORDER BY number").fetchall()
        assert numbers == [(-15,), (-15,), (-7,), (-3,)]
        url = f"postgresql://{database.info.user}@{workers[0]}/{database.info.dbname}"
        assert "This is a worker" in distribute(DATABASE_URL=url)


@pytest.mark.usefixtures("_distributed")
def test_submissions_are_recorded_once_and_the_top_goes_on_while_a_worker_is_down() -> None:
    with serving(**SETTINGS) as service, connect() as database:
        with submitting(lambda: service.address, "citus", CLIENTS) as ledger:
            ledger.acknowledge([-15, -15, -7, -3])
            assert eventually(lambda: ledger.acknowledged >= ENOUGH)
        assert eventually(lambda: database.execute(TAIL).fetchone() == (0,))
        assert ledger.compare(database) == []
        before = service.request("/api/most_common")

        with worker_down():
            answers = [service.request("/api/fizzbuzz", NUMBER) for _ in range(40)]
            during = service.request("/api/most_common")
            status = service.request("/health/live").status
        recorded = sum(answer.status == 201 for answer in answers)
        assert eventually(lambda: service.request("/api/fizzbuzz", NUMBER).status == 201)

    assert {answer.status for answer in answers} == {201, 503}, [a.body for a in answers if a.status == 500][:2]
    assert {answer.json().get("outcome") for answer in answers if answer.status == 503} == {"outcome-unknown"}
    assert (during.status, during.json(), status) == (200, before.json(), 200)
    assert "stale" in during.headers["Warning"]
    assert "Warning" not in before.headers
    with connect() as database:
        ((rows,),) = database.execute("SELECT count(*) FROM fizzbuzz_submission WHERE number = %(number)s", NUMBER)
    assert rows >= recorded + 1
    assert manage("top_numbers", "--verify", **SETTINGS).communicate() == ("All counts match the log.\n", "")


@pytest.mark.usefixtures("_distributed")
def test_every_feature_works_on_a_distributed_log() -> None:
    options = ["--ds=tests.citus_settings", "--reuse-db", "-p", "no:cacheprovider", "-q"]
    chosen = ["-m", "not slow and not smoke", "-k", "not scans_at_most and not read_from_its_index", *FEATURES]
    command = [sys.executable, "-m", "pytest", *options, *chosen]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | SETTINGS, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


@contextmanager
def worker_down() -> Iterator[None]:
    """Stop one worker, which must run on this machine, and start it again."""
    with connect() as database:
        *_, (host, port) = database.execute(WORKERS)
    with connect(host=host, port=port) as database:
        ((folder,),) = database.execute("SHOW data_directory")
    pid_file = Path(folder, "postmaster.pid")
    if not pid_file.exists():
        pytest.skip(f"needs a worker on this machine, to stop it; {folder} is elsewhere")
    pid = int(pid_file.read_text().partition("\n")[0])
    command = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    owner = pid_file.stat()
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.geteuid() == 0:
        options |= {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    os.kill(pid, signal.SIGINT)
    assert eventually(lambda: not pid_file.exists())
    try:
        yield
    finally:
        # The worker belongs to the cluster, which other tests use: let it continue.
        subprocess.run(["setsid", "--fork", *command], check=True, **options)
        assert eventually(lambda: pid_file.exists() and "ready" in pid_file.read_text())
