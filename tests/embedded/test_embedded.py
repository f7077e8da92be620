"""The embedded server starts, is shared, survives kills, stops with its last user, and serves an ordinary role."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded import programs
from fizzbuzz_site.embedded.server import DATABASE, SUPERUSER, USER, EmbeddedError, Server
from tests.embedded.users import answers, connect, host_of, kill, only_root, postmaster, user
from tests.service import eventually, processes

RIGHTS = """
    SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolpassword IS NOT NULL
    FROM pg_authid WHERE rolcanlogin ORDER BY rolname
"""
SUPERUSER_RIGHTS = (SUPERUSER, True, True, True, True, True, False)
OWNERS = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate ORDER BY datname"
EARLIER = f"""
CREATE TABLE public.fizzbuzz_submission (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, number bigint);
INSERT INTO public.fizzbuzz_submission (number) VALUES (15);
ALTER ROLE {USER} PASSWORD 'kept';
"""


def test_server_is_durable_and_local(server: Server) -> None:
    (server.home / "users.lock").touch(mode=0o644)  # by an earlier version

    with connect(server.acquire()) as database:
        query = "SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'data_checksums')"
        assert {*database.execute(query)} == {("fsync", "on"), ("full_page_writes", "on"), ("data_checksums", "on")}
        assert database.execute("SHOW synchronous_commit").fetchone() == ("on",)
        assert database.execute("SHOW listen_addresses").fetchone() == ("",)
    private = [Path(server.host), server.home / "users.lock", server.home / "cluster.lock"]
    assert [each.stat().st_mode & 0o777 for each in private] == [0o700, 0o600, 0o600]


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


def test_rows_survive_kill_9_and_a_recycled_pid(server: Server) -> None:
    host = server.acquire()
    with connect(host) as database:
        database.execute("CREATE TABLE kept AS SELECT 1 AS one")
    killed = postmaster(server)
    kill(killed)
    server.release()
    bystander = subprocess.Popen(["sleep", "60"], user=server.home.joinpath("data").stat().st_uid)  # PostgreSQL's user
    for lock in (server.home / "data/postmaster.pid", Path(host, ".s.PGSQL.5432.lock")):
        lock.write_text(lock.read_text().replace(str(killed), str(bystander.pid), 1))

    try:
        assert server.acquire() == host
        with connect(host) as database:
            assert database.execute("SELECT * FROM kept").fetchall() == [(1,)]
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

    expected = r"not installed: run pip install -r requirements-embedded\.txt, or set DATA"
    with pytest.raises(EmbeddedError, match=expected):
        server.acquire()


def test_root_stores_data_in_state_dir_if_the_servers_user_cannot_enter_the_folder(
    empty_data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_root()
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


def check(server: Server, *, password: bool) -> None:
    """Check that the service's role owns its database and has no other privileges."""
    with psycopg.connect(host=server.acquire(), user=SUPERUSER, dbname=DATABASE) as database:
        rights, owners = database.execute(RIGHTS).fetchall(), database.execute(OWNERS).fetchall()
    assert rights == [(USER, False, False, False, False, False, password), SUPERUSER_RIGHTS]
    assert owners == [(DATABASE, USER), ("postgres", SUPERUSER)]


def test_service_has_an_ordinary_role(server: Server) -> None:
    check(server, password=False)


def test_superuser_of_an_earlier_version_is_demoted(empty_data_dir: Path) -> None:
    server = Server(empty_data_dir)
    cluster = server.home / "data"
    cluster.mkdir(parents=True)
    server.home.chmod(0o711)
    server.programs.chown(cluster)
    run = partial(server.programs.run, cwd=cluster)
    initdb = run("initdb", "-D", ".", "-U", USER, "--auth=trust", "--locale=C", "--encoding=UTF8")
    assert initdb.returncode == 0
    for name, script in (("postgres", f"CREATE DATABASE {DATABASE};\n"), (DATABASE, EARLIER)):
        assert run("postgres", "--single", "-D", ".", "-c", "exit_on_error=on", name, stdin=script).returncode == 0

    try:
        for _ in range(2):  # the second start finds nothing to do
            check(server, password=True)
            server.release()
        with connect(server.acquire()) as database:
            database.execute("INSERT INTO fizzbuzz_submission (number) VALUES (7)")
            database.execute("ALTER TABLE fizzbuzz_submission ADD COLUMN more int")
            rows = database.execute("SELECT id, number FROM fizzbuzz_submission ORDER BY id").fetchall()
        assert rows == [(1, 15), (2, 7)]
    finally:
        server.release()
