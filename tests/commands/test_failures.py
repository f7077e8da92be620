"""Foreseeable failures of any command end with one line and exit code 1; and no colors where a terminal wants none."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import SUPERUSER, USER, Server
from tests.service import SECRET_KEY, manage, url_of

STYLED = """
import logging
from django.core.management.color import color_style
print(color_style().ERROR("styled"), flush=True)
logging.warning("logged")
"""
RESUME = "Run the same command again to resume."
FILL = "from fizzbuzz.submissions import record; record.load(range(50_000))"


def run(*arguments: str, **environment: str) -> str:
    """Run a command that fails, and return its line."""
    process = manage(*arguments, SECRET_KEY=SECRET_KEY, **environment)
    output, errors = process.communicate()
    assert (process.returncode, output, errors.count("\n")) == (1, "", 1), errors
    return errors.removesuffix("\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate"],
        ["serve", "--migrate"],
        ["createsuperuser", "--noinput", "--username=x", "--email=x@localhost"],
        ["top_numbers", "--verify"],
        ["export_submissions"],
        ["prune_idempotency_keys"],
        ["distribute"],
    ],
)
def test_database_is_unavailable(arguments: list[str]) -> None:
    line = run(*arguments, DATABASE_URL="postgresql://us:hidden@127.0.0.1:1/x", PORT="0")

    assert line.endswith('connection to server at "127.0.0.1", port 1 failed: Connection refused')


def test_database_refuses(data_dir: Path) -> None:
    server = Server(data_dir)
    url = url_of(server.acquire())
    numbers = data_dir / "numbers"
    failed, read_only = "error: The database failed: ", "in a read-only transaction"
    importing, suffix = ["import_numbers", str(numbers)], f". {RESUME}"
    denied = "permission denied for "
    with psycopg.connect(url.replace(f"//{USER}@", f"//{SUPERUSER}@"), autocommit=True) as database:
        assert run(*importing, DATABASE_URL=url) == f"error: {numbers}: No such file or directory"
        numbers.write_text("15\n")
        database.execute("ALTER DATABASE fizzbuzz SET default_transaction_read_only = on")
        assert run(*importing, DATABASE_URL=url) == (
            f"CommandError: The database failed: cannot execute SELECT FOR UPDATE {read_only}{suffix}"
        )
        assert run("top_numbers", "--rebuild", DATABASE_URL=url).startswith(failed + "cannot execute ")
        nothing_to_do = manage("migrate", "--verbosity=0", DATABASE_URL=url, SECRET_KEY=SECRET_KEY)
        assert nothing_to_do.communicate() == ("", "")
        database.execute("ALTER DATABASE fizzbuzz RESET default_transaction_read_only")
        database.execute("ALTER TABLE fizzbuzz_submission OWNER TO " + SUPERUSER)
        assert run("migrate", "--verbosity=0", DATABASE_URL=url).startswith(failed + denied)
        assert run("top_numbers", DATABASE_URL=url) == f"{failed}{denied}table fizzbuzz_submission"
        assert run(*importing, DATABASE_URL=url).endswith(f"{denied}table fizzbuzz_submission{suffix}")
        database.execute("DROP TABLE fizzbuzz_submission")
        assert run("top_numbers", DATABASE_URL=url) == f'{failed}relation "fizzbuzz_submission" does not exist'
    server.release()


def test_output_cannot_be_written(data_dir: Path) -> None:
    environment = {"DATA_DIR": str(data_dir)}
    for command in (["migrate", "--verbosity=0"], ["shell", "-v0", "-c", FILL]):
        assert manage(*command, **environment).communicate() == ("", "")

    with manage("export_submissions", **environment) as export:
        assert export.stdout
        assert export.stderr
        assert export.stdout.readline() == "id,number,result,kind,created_at\n"
        export.stdout.close()
        assert (export.wait(), export.stderr.read()) == (1, "error: output: Broken pipe\n")
    for name in ("export_submissions", "top_numbers", "showmigrations"):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "manage.py", name],
                env={"PATH": os.environ["PATH"], **environment},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, done.stderr) == (1, "error: output: No space left on device\n")


@pytest.mark.slow
def test_own_faults_have_a_traceback(tmp_path: Path) -> None:
    process = manage("shell", "-v0", "-c", "1 / 0", DATA_DIR=str(tmp_path))
    _, errors = process.communicate()

    assert process.returncode == 1
    assert errors.startswith("Traceback")
    assert errors.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "environment", "colored"),
    [
        ([], {"TERM": "xterm"}, True),
        ([], {"TERM": "xterm", "NO_COLOR": "1"}, False),
        ([], {"TERM": "dumb"}, False),
        (["--no-color"], {"TERM": "xterm"}, False),
    ],
)
def test_terminal_without_colors_gets_none(
    tmp_path: Path, options: list[str], environment: dict[str, str], *, colored: bool
) -> None:
    """Of Django's lines, which are styled like ours, and of the log."""
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "rb") as lines:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "shell", "-v0", "-c", STYLED, *options],
            env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path), **environment},
            stdout=end,
            stderr=end,
        )
        os.close(end)
        styled, logged = lines.readline(), lines.readline()
        assert process.wait() == 0

    assert (styled, logged.count(b"\x1b[") > 0) == (
        b"\x1b[31;1mstyled\x1b[0m\r\n" if colored else b"styled\r\n",
        colored,
    )
    assert b"logged" in logged
