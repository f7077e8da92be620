"""Foreseeable failures of any command end with one line and exit code 1; and no colors where a terminal wants none."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import SUPERUSER, USER
from tests.service import SECRET_KEY, manage

STYLED = """
import logging
from django.core.management.color import color_style
print(color_style().ERROR("styled"), flush=True)
logging.warning("logged")
"""
RESUME = "Run the same command again to resume."


def run(*arguments: str, **environment: str) -> str:
    """Run a command that fails, and return its line."""
    process = manage(*arguments, SECRET_KEY=SECRET_KEY, **environment)
    output, errors = process.communicate()
    assert (process.returncode, output, errors.count("\n")) == (1, "", 1), errors
    return errors.removesuffix("\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["migrate", "serve --migrate", "top_numbers --verify", "distribute"])
def test_database_is_unavailable(command: str) -> None:
    line = run(*command.split(), DATABASE_URL="postgresql://us:hidden@127.0.0.1:1/x", PORT="0")

    assert line.endswith('connection to server at "127.0.0.1", port 1 failed: Connection refused')


def test_database_refuses(database_url: str, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers"
    failed, read_only = "error: The database failed: ", "in a read-only transaction"
    importing, suffix = ["import_numbers", str(numbers)], f". {RESUME}"
    denied = "permission denied for "
    with psycopg.connect(database_url.replace(f"//{USER}@", f"//{SUPERUSER}@"), autocommit=True) as database:
        assert run(*importing, DATABASE_URL=database_url) == f"error: {numbers}: No such file or directory"
        numbers.write_text("15\n")
        database.execute("ALTER DATABASE fizzbuzz SET default_transaction_read_only = on")
        assert run(*importing, DATABASE_URL=database_url) == (
            f"CommandError: The database failed: cannot execute SELECT FOR UPDATE {read_only}{suffix}"
        )
        nothing_to_do = manage("migrate", "--verbosity=0", DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY)
        assert nothing_to_do.communicate() == ("", "")
        database.execute("ALTER DATABASE fizzbuzz RESET default_transaction_read_only")
        database.execute("ALTER TABLE fizzbuzz_submission OWNER TO " + SUPERUSER)
        assert run("migrate", "--verbosity=0", DATABASE_URL=database_url).startswith(failed + denied)
        assert run("top_numbers", DATABASE_URL=database_url) == f"{failed}{denied}table fizzbuzz_submission"
        assert run(*importing, DATABASE_URL=database_url).endswith(f"{denied}table fizzbuzz_submission{suffix}")
        database.execute("DROP TABLE fizzbuzz_submission")
        assert run("top_numbers", DATABASE_URL=database_url) == f'{failed}relation "fizzbuzz_submission" does not exist'


def test_output_cannot_be_written(database_url: str) -> None:
    environment = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}
    with psycopg.connect(database_url) as database:
        database.execute("INSERT INTO fizzbuzz_submission (number) SELECT generate_series(1, 50000)")

    with manage("export_submissions", **environment) as export:
        assert export.stdout
        assert export.stderr
        assert export.stdout.readline() == "id,number,result,kind,created_at\n"
        export.stdout.close()
        assert (export.wait(), export.stderr.read()) == (1, "error: output: Broken pipe\n")
    for name in ("export_submissions", "top_numbers"):
        done = subprocess.run(
            ["sh", "-c", '"$0" manage.py "$1" >/dev/full', sys.executable, name],
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (1, "error: output: No space left on device\n")


@pytest.mark.slow
def test_own_faults_have_a_traceback(tmp_path: Path) -> None:
    process = manage("shell", "-v0", "-c", "1 / 0", DATA_DIR=str(tmp_path))
    first, *_, last = process.communicate()[1].splitlines()

    assert (process.returncode, first, last) == (
        1,
        "Traceback (most recent call last):",
        "ZeroDivisionError: division by zero",
    )


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
