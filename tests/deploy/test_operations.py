"""The commands of docs/deployment.md and docs/operations.md that need no container."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import SUPERUSER, Server
from tests.deploy.documents import DOCUMENTS, blocks, of_chapter, type_in
from tests.service import ROOT, Service, manage, serving, url_of

*_, BACKUP, RESTORE = of_chapter("docs/deployment.md", "Back up and restore")
(COMMANDS,) = of_chapter("docs/operations.md", "Commands")
(DELETE,) = of_chapter("docs/operations.md", "Delete old submissions")
EXACT = "All counts match the log.\n"
LOG = "SELECT count(*), count(DISTINCT id), max(id), to_regclass('added_later') IS NOT NULL FROM fizzbuzz_submission"


@pytest.fixture
def server(data_dir: Path) -> Iterator[Server]:
    """A running embedded server, which commands with its DATA_DIR need not start and stop."""
    server = Server(data_dir)
    server.acquire()
    yield server
    server.release()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder to run the commands in, so that they leave nothing in the real checkout."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "manage.py").symlink_to(ROOT / "manage.py")
    return tmp_path


def run(commands: str, checkout: Path, environment: dict[str, str], *, fails: bool = False) -> str:
    inherited = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE")}
    return type_in(commands, checkout, inherited | environment, fails=fails)


def submit(service: Service, *numbers: int) -> dict[int, int]:
    """Submit these numbers, and return the counts."""
    assert service.request("/api/fizzbuzz/batch", {"numbers": [*numbers]}).status == 201
    return {each["number"]: each["count"] for each in service.request("/api/most_common?limit=100").json()}


def test_each_block_of_commands_is_run_or_says_why_not() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    documents = [document for document in DOCUMENTS if f'blocks("{document}")' not in tests]  # those run them all
    chapters = {chapter for document in documents for chapter, not_run, _ in blocks(document) if not not_run}
    prose = "\n".join((ROOT / document).read_text() for document in DOCUMENTS)

    assert len(chapters) > 5
    assert [chapter for chapter in chapters if f', "{chapter}")' not in tests] == []
    assert not re.search(r"^```(?!sh|json|$)", prose, re.MULTILINE)


def test_backup_is_restored_as_a_whole_in_place_and_in_another_database(
    data_dir: Path, server: Server, checkout: Path
) -> None:
    url, here, backup = url_of(server.host), {"DATA_DIR": str(data_dir)}, checkout / "backup.dump"
    other = {
        "DATABASE_URL": url.replace("/fizzbuzz?", "/other?"),
        "SECRET_KEY_FILE": str(data_dir / "secret_key"),
        "PATH": f"{server.programs.folder()}{os.pathsep}{os.environ['PATH']}",
    }
    with serving(**here) as service:
        submit(service, *[15] * 1_500, 7, 7, -3)
        assert run(BACKUP, checkout, here) == ""
        assert submit(service, 7)[7] == 3  # a restore undoes it
    with psycopg.connect(url, user=SUPERUSER, autocommit=True) as database:
        database.execute("CREATE DATABASE other OWNER fizzbuzz")
        database.execute("SET ROLE fizzbuzz")
        database.execute("CREATE TABLE added_later ()")

        complete = backup.read_bytes()
        backup.write_bytes(complete[:-2_000])
        assert run(RESTORE, checkout, here, fails=True).startswith("pg_restore: error: ")
        assert database.execute(LOG).fetchone() == (1_504, 1_504, 1_504, True)
        backup.write_bytes(complete)

    for environment in (here, other):
        assert run(RESTORE, checkout, environment) == EXACT
        with serving(**environment) as service:
            assert submit(service, *[7] * 1_500, 8) == {7: 1_502, 15: 1_500, -3: 1, 8: 1}
        with psycopg.connect(environment.get("DATABASE_URL", url)) as database:
            assert database.execute(LOG).fetchone() == (3_004, 3_004, 3_004, False)


def test_commands_run_or_report_errors(data_dir: Path, server: Server, checkout: Path) -> None:
    here = {"DATA_DIR": str(data_dir)}

    assert EXACT in run(COMMANDS, checkout, here)
    assert len((checkout / "fizz.jsonl").read_text().splitlines()) == 1000 // 3 - 1000 // 15
    with psycopg.connect(url_of(server.host)) as database:
        database.execute("UPDATE fizzbuzz_submission SET created_at = now() - interval '2 years' WHERE number % 2 = 0")
    deleted = run(DELETE, checkout, here)
    assert "DELETE 500" in deleted
    assert deleted.endswith(EXACT)

    failed, missing = manage("postgres", "psql", "--command=SELECT 1/0", **here), manage("postgres", "nothing", **here)

    assert (failed.communicate(), failed.returncode) == (("", "ERROR:  division by zero\n"), 1)
    assert missing.communicate() == ("", "CommandError: nothing can't be run: No such file or directory\n")
