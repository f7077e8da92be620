"""The embedded server starts, is shared, survives kills, and stops with its last user."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from fizzbuzz_site.embedded import programs
from fizzbuzz_site.embedded.server import EmbeddedError, Server
from tests.embedded.users import answers, connect, host_of, kill, postmaster, user
from tests.service import eventually, processes


def test_server_is_durable_and_local(server: Server) -> None:
    names = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums", "listen_addresses")

    with connect(server.acquire()) as database:
        settings = {name: database.execute(f"SHOW {name}").fetchone() for name in names}
    assert Path(server.host).stat().st_mode & 0o777 == 0o700  # the socket's folder

    assert settings == {
        "fsync": ("on",),
        "full_page_writes": ("on",),
        "synchronous_commit": ("on",),
        "data_checksums": ("on",),
        "listen_addresses": ("",),
    }


def test_last_user_stops_the_server(server: Server, data_dir: Path) -> None:
    other, killed = user(data_dir), user(data_dir)
    host = server.acquire()
    assert host_of(other) == host_of(killed) == host

    killed.kill()  # a killed user does not count
    killed.communicate()
    server.release()
    assert answers(host)

    other.terminate()
    other.communicate()
    assert other.returncode == 128 + signal.SIGTERM
    assert processes(data_dir) == []


def test_forked_child_does_not_count_as_user(server: Server, data_dir: Path) -> None:
    host = server.acquire()

    pid = os.fork()
    if pid == 0:  # pragma: no cover: another process
        server.release()
        os._exit(0)
    os.waitpid(pid, 0)

    assert answers(host)
    server.release()
    assert processes(data_dir) == []


def test_rows_and_socket_path_survive_kill_9(server: Server) -> None:
    host = server.acquire()
    with connect(host) as database:
        database.execute("CREATE TABLE kept AS SELECT 1 AS one")
    kill(postmaster(server))
    server.release()

    assert server.acquire() == host
    with connect(host) as database:
        assert database.execute("SELECT * FROM kept").fetchall() == [(1,)]


def test_recycled_pid_is_not_taken_for_a_server(server: Server) -> None:
    host = server.acquire()
    killed = postmaster(server)
    kill(killed)
    server.release()
    bystander = subprocess.Popen(["sleep", "60"])
    pid_file = server.home.resolve() / "data/postmaster.pid"
    for lock in (pid_file, Path(host, ".s.PGSQL.5432.lock")):
        lock.write_text(lock.read_text().replace(str(killed), str(bystander.pid), 1))

    try:
        assert answers(server.acquire())
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("signum", [signal.SIGCONT, signal.SIGKILL], ids=["starts", "dies"])
def test_acquire_waits_for_a_starting_server_and_restarts_one_that_dies(
    server: Server, monkeypatch: pytest.MonkeyPatch, signum: int
) -> None:
    host = server.acquire()
    server._forget()
    pid = postmaster(server)
    os.kill(pid, signal.SIGSTOP)

    def end_the_stop(seconds: float) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)

    monkeypatch.setattr("time.sleep", end_the_stop)

    assert server.acquire() == host
    assert answers(host)
    assert (postmaster(server) == pid) is (signum == signal.SIGCONT)


def test_hung_server_raises_embedded_error(server: Server, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.acquire()
    server._forget()
    pid = postmaster(server)
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr("fizzbuzz_site.embedded.server.START_STOP_TIMEOUT_SECONDS", 0)

    with pytest.raises(EmbeddedError, match="is in use by a PostgreSQL that does not respond"):
        server.acquire()

    os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: not processes(data_dir))  # the stop of its last user reached it


def test_unfinished_initdb_is_repeated(empty_data_dir: Path) -> None:
    (empty_data_dir / "postgres/data.new/base").mkdir(parents=True)
    server = Server(empty_data_dir)

    try:
        assert answers(server.acquire())
    finally:
        server.release()


def test_other_major_version_raises_embedded_error(server: Server) -> None:
    server.acquire()
    server.release()
    (server.home / "data/PG_VERSION").write_text("16\n")

    with pytest.raises(EmbeddedError, match=r"belongs to PostgreSQL 16, but the embedded server is 18: dump it"):
        server.acquire()


def test_unusable_folder_raises_embedded_error() -> None:
    with pytest.raises(EmbeddedError, match=r"The data folder /dev/null/var can't be used: .*Not a directory"):
        Server(Path("/dev/null/var")).acquire()


def test_failed_start_names_the_log(server: Server, data_dir: Path) -> None:
    server.acquire()
    server.release()
    with (server.home / "data/postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")

    with pytest.raises(EmbeddedError, match=r'did not start \(see .*server\.log\): .*"no_such_setting"') as error:
        server.acquire()

    assert "\n" not in str(error.value)
    assert "no_such_setting" in (server.home / "data/server.log").read_text()
    assert processes(data_dir) == []


def test_missing_wheel_raises_embedded_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: None)

    with pytest.raises(
        EmbeddedError, match=r"not installed: run pip install -r requirements-embedded\.txt, or set DATA"
    ):
        server.acquire()


def test_root_stores_data_in_state_dir_if_the_servers_user_cannot_enter_the_folder(
    empty_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has to run PostgreSQL as another user")
    state_dir = Path(tempfile.mkdtemp())
    state_dir.chmod(0o711)
    empty_data_dir.parent.chmod(0o700)
    monkeypatch.setattr("fizzbuzz_site.embedded.server.STATE_DIR", state_dir)
    server = Server(empty_data_dir / "closed")

    try:
        assert answers(server.acquire())
        assert server.home.readlink().parent == state_dir
    finally:
        server.release()
    assert processes(state_dir) == []
    shutil.rmtree(state_dir)
