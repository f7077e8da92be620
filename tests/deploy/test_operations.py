"""The commands in docs/deployment.md and the metrics in docs/operations.md."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.test import Client

from fizzbuzz.counts import folding
from fizzbuzz_site.embedded.server import Server
from tests.deploy.documents import DOCUMENTS, blocks, of_chapter
from tests.log import append
from tests.marks import commits
from tests.service import ROOT, Service, manage, serving, url_of

TEXT = (ROOT / "docs/operations.md").read_text()
*_, BACKUP, RESTORE = of_chapter("docs/deployment.md", "Back up and restore")
(COMMANDS,) = of_chapter("docs/operations.md", "Commands")
(DELETE,) = of_chapter("docs/operations.md", "Delete old submissions")
# By this module, test_documents.py (also the whole runbook), test_systemd.py and test_upgrade.py.
RUN = {
    ("README.md", "Run it"),
    ("docs/deployment.md", "A small server in ten minutes"),
    ("docs/deployment.md", "A small server without Docker, in ten minutes"),
    ("docs/deployment.md", "A big server in an hour"),
    ("docs/deployment.md", "Watch it"),
    ("docs/deployment.md", "Upgrade without downtime"),
    ("docs/deployment.md", "From version 0.1.0"),
    ("docs/deployment.md", "Back up and restore"),
    ("docs/operations.md", "Commands"),
    ("docs/operations.md", "Delete old submissions"),
    ("docs/operations.md", "The service log"),
}
PSQL = ".venv/bin/python manage.py postgres psql"
EXACT = "All counts match the log.\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Create a folder to run the commands in, so that they leave nothing in the real checkout."""
    (tmp_path / "manage.py").symlink_to(ROOT / "manage.py")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path


def run(checkout: Path, commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the commands until one of them fails."""
    inherited = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    environment = {"PATH": os.environ["PATH"], **inherited, **environment}
    return subprocess.run(
        ["bash", "-ec", commands], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def type_in(checkout: Path, commands: str, **environment: str) -> str:
    """Run the commands, which must all succeed, and return their output."""
    done = run(checkout, commands, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    found = {(document, block.chapter) for document in DOCUMENTS for block in blocks(document) if not block.not_run}
    runbook = {("docs/runbook.md", block.chapter) for block in blocks("docs/runbook.md")}
    prose = [(ROOT / document).read_text() for document in DOCUMENTS]

    assert found == RUN | runbook
    assert not any(re.search(r"^```(?!sh|json|$)", text, re.MULTILINE) for text in prose)


def submit(service: Service, *numbers: int) -> None:
    assert service.request("/api/fizzbuzz/batch", {"numbers": list(numbers)}).status == 201


def counts(service: Service) -> dict[int, int]:
    return {each["number"]: each["count"] for each in service.request("/api/most_common?limit=100").json()}


@pytest.fixture
def own_server(data_dir: Path) -> Iterator[dict[str, str]]:
    """Start a server that the service uses as an external one, and return the environment for it."""
    server = Server(data_dir / "own")
    url = url_of(server.acquire())
    path = f"{server.programs.folder()}{os.pathsep}{os.environ['PATH']}"
    yield {"DATABASE_URL": url, "SECRET_KEY_FILE": str(data_dir / "embedded/secret_key"), "PATH": path}
    server.release()


def test_service_moves_to_an_external_server(data_dir: Path, checkout: Path, own_server: dict[str, str]) -> None:
    here = {"DATA_DIR": str(data_dir / "embedded")}
    with serving(**here) as service:
        submit(service, *[15] * 1_500, 7, 7, -3)
        submit(service, 7)

    assert type_in(checkout, BACKUP, **here) == ""
    assert type_in(checkout, RESTORE, **own_server) == EXACT

    with serving(**own_server) as service:
        assert counts(service) == {15: 1_500, 7: 3, -3: 1}
        submit(service, *[7] * 1_500, 8)
        assert counts(service) == {7: 1_503, 15: 1_500, -3: 1, 8: 1}
    with psycopg.connect(own_server["DATABASE_URL"]) as database:
        rows = database.execute("SELECT count(*), count(DISTINCT id), max(id) FROM fizzbuzz_submission").fetchone()
    assert rows == (3_005, 3_005, 3_005)
    assert manage("top_numbers", "--verify", **own_server).communicate() == (EXACT, "")


def test_backup_of_a_busy_service_is_restored(data_dir: Path, checkout: Path) -> None:
    here = {"DATA_DIR": str(data_dir)}
    with serving(**here) as service:
        submit(service, *[15] * 1_500, 7, 7, -3)
        assert type_in(checkout, BACKUP, **here) == ""
        submit(service, *[7] * 2_000)
    type_in(checkout, f"{PSQL} --quiet --command='CREATE TABLE of_a_later_migration ()'", **here)

    assert type_in(checkout, RESTORE, **here) == EXACT
    assert "of_a_later_migration" not in type_in(checkout, f"{PSQL} --command='\\d'", **here)

    with serving(**here) as service:
        assert counts(service) == {15: 1_500, 7: 2, -3: 1}
        submit(service, *[7] * 1_500)
        assert counts(service) == {7: 1_502, 15: 1_500, -3: 1}
    assert manage("top_numbers", "--verify", **here).communicate() == (EXACT, "")


def test_failed_restore_changes_nothing(data_dir: Path, checkout: Path) -> None:
    here = {"DATA_DIR": str(data_dir)}
    with serving(**here) as service:
        submit(service, 15, 15)
        type_in(checkout, BACKUP, **here)
        submit(service, 7)  # a restore would undo it
    backup = checkout / "backup.dump"
    backup.write_bytes(backup.read_bytes()[:-2_000])

    failed = run(checkout, RESTORE, **here)

    assert failed.returncode == 1
    assert failed.stderr.startswith("pg_restore: error: ")
    with serving(**here) as service:
        assert counts(service) == {15: 2, 7: 1}


def test_commands_run(data_dir: Path, checkout: Path) -> None:
    here = {"DATA_DIR": str(data_dir)}
    old = "UPDATE fizzbuzz_submission SET created_at = now() - interval '2 years' WHERE number % 2 = 0"

    assert EXACT in run(checkout, COMMANDS, **here).stdout
    assert len((checkout / "fizz.jsonl").read_text().splitlines()) == 1000 // 3 - 1000 // 15
    type_in(checkout, f'{PSQL} --command="{old}"', **here)
    assert "DELETE 500" in (output := run(checkout, DELETE, **here).stdout), output
    assert output.endswith(EXACT)


def test_postgres_command_reports_errors(data_dir: Path) -> None:
    here = {"DATA_DIR": str(data_dir)}
    failed, missing = manage("postgres", "psql", "--command=SELECT 1/0", **here), manage("postgres", "nothing", **here)

    assert (failed.communicate(), failed.returncode) == (("", "ERROR:  division by zero\n"), 1)
    assert missing.communicate() == ("", "CommandError: nothing can't be run: No such file or directory\n")


@commits
def test_metrics_to_watch_exist(client: Client) -> None:
    append(15)
    folding.fold()
    page = client.get("/metrics").text
    rows = re.findall(r"^\| (`(?:django|fizzbuzz)_.*)$", TEXT, re.MULTILINE)
    # The start time is missing, because nothing was served.
    named = {*re.findall(r"`((?:django|fizzbuzz)_\w+)`", "".join(rows))} - {"fizzbuzz_start_time_seconds"}

    assert len(named) > 12
    assert [name for name in named if not re.search(rf"^# TYPE {name} ", page, re.MULTILINE)] == []
