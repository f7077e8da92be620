"""The commands in docs/deployment.md and the metrics in docs/operations.md."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.test import Client

from fizzbuzz.counts import folding
from fizzbuzz_site.embedded.server import Server
from tests.deploy.documents import DOCUMENTS, blocks, of_chapter, type_in
from tests.log import append
from tests.marks import commits
from tests.service import ROOT, Service, manage, serving, url_of

TEXT = (ROOT / "docs/operations.md").read_text()
*_, BACKUP, RESTORE = of_chapter("docs/deployment.md", "Back up and restore")
(COMMANDS,) = of_chapter("docs/operations.md", "Commands")
(DELETE,) = of_chapter("docs/operations.md", "Delete old submissions")
PSQL = ".venv/bin/python manage.py postgres psql"
EXACT = "All counts match the log.\n"


class Checkout:
    """A folder to run the commands in, so that they leave nothing in the real checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "manage.py").symlink_to(ROOT / "manage.py")
        (folder / ".venv/bin").mkdir(parents=True)
        python = folder / ".venv/bin/python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)

    def type_in(self, commands: str, environment: dict[str, str], *, fails: bool = False) -> str:
        inherited = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        return type_in(commands, self.folder, {"PATH": os.environ["PATH"]} | inherited | environment, fails=fails)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    documents = [document for document in DOCUMENTS if f'blocks("{document}")' not in tests]  # those run them all
    chapters = {block.chapter for document in documents for block in blocks(document) if not block.not_run}
    prose = [(ROOT / document).read_text() for document in DOCUMENTS]

    assert len(chapters) > 5
    assert [chapter for chapter in chapters if f', "{chapter}")' not in tests] == []
    assert not any(re.search(r"^```(?!sh|json|$)", text, re.MULTILINE) for text in prose)


@pytest.fixture
def own_server(data_dir: Path) -> Iterator[dict[str, str]]:
    """Start a server that the service uses as an external one, and return the environment for it."""
    server = Server(data_dir / "own")
    url = url_of(server.acquire())
    path = f"{server.programs.folder()}{os.pathsep}{os.environ['PATH']}"
    yield {"DATABASE_URL": url, "SECRET_KEY_FILE": str(data_dir / "embedded/secret_key"), "PATH": path}
    server.release()


def submit(service: Service, *numbers: int) -> dict[int, int]:
    """Submit these numbers, and return the counts."""
    assert service.request("/api/fizzbuzz/batch", {"numbers": [*numbers]}).status == 201
    return {each["number"]: each["count"] for each in service.request("/api/most_common?limit=100").json()}


def test_backup_is_restored_in_place_and_on_another_server(
    data_dir: Path, checkout: Checkout, own_server: dict[str, str]
) -> None:
    here = {"DATA_DIR": str(data_dir / "embedded")}
    with serving(**here) as service:
        submit(service, *[15] * 1_500, 7, 7, -3)
        assert checkout.type_in(BACKUP, here) == ""
        assert submit(service, 7)[7] == 3  # a restore undoes it
    checkout.type_in(f"{PSQL} --quiet --command='CREATE TABLE of_a_later_migration ()'", here)

    for environment in (here, own_server):
        assert checkout.type_in(RESTORE, environment) == EXACT
        assert "of_a_later_migration" not in checkout.type_in(f"{PSQL} --command='\\d'", environment)
        with serving(**environment) as service:
            assert submit(service, *[7] * 1_500, 8) == {7: 1_502, 15: 1_500, -3: 1, 8: 1}
        assert manage("top_numbers", "--verify", **environment).communicate() == (EXACT, "")
    with psycopg.connect(own_server["DATABASE_URL"]) as database:
        rows = database.execute("SELECT count(*), count(DISTINCT id), max(id) FROM fizzbuzz_submission").fetchone()
    assert rows == (3_004, 3_004, 3_004)


def test_failed_restore_changes_nothing(data_dir: Path, checkout: Checkout) -> None:
    here = {"DATA_DIR": str(data_dir)}
    with serving(**here) as service:
        submit(service, 15, 15)
        checkout.type_in(BACKUP, here)
        submit(service, 7)
    backup = checkout.folder / "backup.dump"
    backup.write_bytes(backup.read_bytes()[:-2_000])

    assert checkout.type_in(RESTORE, here, fails=True).startswith("pg_restore: error: ")
    with serving(**here) as service:
        assert submit(service, 7) == {15: 2, 7: 2}


def test_commands_run(data_dir: Path, checkout: Checkout) -> None:
    here = {"DATA_DIR": str(data_dir)}
    old = "UPDATE fizzbuzz_submission SET created_at = now() - interval '2 years' WHERE number % 2 = 0"

    assert EXACT in checkout.type_in(COMMANDS, here)
    assert len((checkout.folder / "fizz.jsonl").read_text().splitlines()) == 1000 // 3 - 1000 // 15
    checkout.type_in(f'{PSQL} --command="{old}"', here)
    deleted = checkout.type_in(DELETE, here)
    assert "DELETE 500" in deleted
    assert deleted.endswith(EXACT)


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
