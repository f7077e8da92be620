"""The embedded server: durable, one per data folder for all processes, ended by its last user; its ordinary role."""

import os
import re
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import DATABASE, SUPERUSER, USER, EmbeddedError, Server
from tests.embedded.users import answers, connect, host_of, kill, postmaster, user
from tests.service import eventually, processes

SETTINGS = {
    "data_checksums": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "",
    "log_rotation_age": "1440",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "synchronous_commit": "on",
}
RIGHTS = """
    SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolpassword IS NOT NULL
    FROM pg_authid WHERE rolcanlogin ORDER BY rolname
"""
OWNERS = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate ORDER BY datname"
# The capabilities of root in a container, which cannot inspect other users' processes.
WITHOUT_PTRACE = (
    "setpriv",
    "--inh-caps=-all",
    "--bounding-set=-all,+chown,+dac_override,+fsetid,+fowner,+kill,+setgid,+setuid,+setpcap,+net_bind_service",
)
OTHER_CONTAINER = ("unshare", "--pid", "--ipc", "--net", "--mount", "--fork", "--mount-proc")
EARLIER = f"""
CREATE TABLE public.fizzbuzz_submission (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, number bigint);
INSERT INTO public.fizzbuzz_submission (number) VALUES (15);
ALTER ROLE {USER} PASSWORD 'kept';
"""


def check_roles(server: Server, *, password: bool) -> None:
    """Check that the service's role owns its database and has no other privileges."""
    with psycopg.connect(host=server.acquire(), user=SUPERUSER, dbname=DATABASE) as database:
        assert database.execute(RIGHTS).fetchall() == [
            (USER, False, False, False, False, False, password),
            (SUPERUSER, True, True, True, True, True, False),
        ]
        assert database.execute(OWNERS).fetchall() == [(DATABASE, USER), ("postgres", SUPERUSER)]


def test_server_is_durable_and_local_and_its_role_ordinary(server: Server) -> None:
    (server.home / "users.lock").touch(mode=0o644)  # by an earlier version

    with connect(server.acquire()) as database:
        query = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
        assert set(database.execute(query, [[*SETTINGS]])) == {*SETTINGS.items()}
    private = [Path(server.host), server.home / "users.lock", server.home / "cluster.lock"]
    assert [each.stat().st_mode & 0o777 for each in private] == [0o700, 0o600, 0o600]
    check_roles(server, password=False)


def test_last_user_stops_the_server_whose_log_contains_no_errors(server: Server, data_dir: Path) -> None:
    host = server.acquire()
    pid = os.fork()
    if pid == 0:  # pragma: no cover: another process, which does not count as user
        server.release()
        os._exit(0)
    os.waitpid(pid, 0)
    assert answers(host)

    other, killed = user(data_dir), user(data_dir)
    assert host_of(other) == host_of(killed) == host
    killed.kill()  # does not count any more
    killed.communicate()
    server.release()
    assert answers(host)

    other.terminate()
    other.communicate()
    assert other.returncode == 128 + signal.SIGTERM
    assert processes(data_dir) == []
    (log,) = (server.home / "data/log").iterdir()
    assert re.fullmatch(r"postgresql-(Mon|Tue|Wed|Thu|Fri|Sat|Sun)\.log", log.name)
    expected = re.compile("LOG:  |FATAL:  terminating connection due to")  # which may be open when the server stops
    assert [line for line in log.read_text().splitlines() if not expected.search(line)] == []


def test_signal_during_the_first_start_stops_all_processes(data_dir: Path) -> None:
    first = user(data_dir / "new")
    assert eventually((data_dir / "new/postgres/data/postmaster.pid").exists)

    first.terminate()
    first.communicate()

    assert processes(data_dir) == []


def test_recycled_pid_of_a_killed_server_is_ignored(server: Server) -> None:
    host = server.acquire()
    killed = postmaster(server)
    kill(killed)
    server.release()
    # Of PostgreSQL's user, as the server was.
    with subprocess.Popen(["sleep", "60"], user=(server.home / "data").stat().st_uid) as bystander:
        for lock in (server.home / "data/postmaster.pid", Path(host, ".s.PGSQL.5432.lock")):
            lock.write_text(lock.read_text().replace(str(killed), str(bystander.pid), 1))

        assert answers(server.acquire())
        assert bystander.poll() is None
        bystander.kill()


def test_acquire_waits_for_a_starting_server_and_restarts_one_that_dies(
    server: Server, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_and_acquire(at_pause: int) -> bool:
        """Stop the server, and acquire it. Send the signal at the first pause. Return whether it is the same server."""
        server._forget()
        pid = postmaster(server)
        os.kill(pid, signal.SIGSTOP)

        def end_the_stop(seconds: float) -> None:
            with suppress(ProcessLookupError):
                os.kill(pid, at_pause)

        monkeypatch.setattr("time.sleep", end_the_stop)
        assert answers(server.acquire())
        return postmaster(server) == pid

    server.acquire()
    assert stop_and_acquire(signal.SIGCONT)
    assert not stop_and_acquire(signal.SIGKILL)

    monkeypatch.undo()
    monkeypatch.setattr("fizzbuzz_site.embedded.server.START_STOP_TIMEOUT_SECONDS", 0)
    pid = postmaster(server)
    with pytest.raises(EmbeddedError, match="is in use by a PostgreSQL that does not respond"):
        stop_and_acquire(signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    assert eventually(lambda: not processes(data_dir))  # the stop of its last user reached it


def test_process_without_ptrace_shares_the_server(server: Server, data_dir: Path) -> None:
    first = user(data_dir, *WITHOUT_PTRACE)
    assert host_of(first) == f"{server.home}/socket"
    pid = postmaster(server)

    out, err = user(data_dir, *WITHOUT_PTRACE).communicate()

    assert (out, err, postmaster(server)) == (f"{server.home}/socket\n", "", pid)
    assert answers(server.host)
    assert first.communicate() == ("", "")
    assert processes(data_dir) == []


def test_first_users_that_start_concurrently_share_one_server(data_dir: Path) -> None:
    (data_dir / "new/postgres/data.new/base").mkdir(parents=True)  # of an initdb that was killed
    users = [user(data_dir / "new") for _ in range(3)]
    hosts = {host_of(each) for each in users}

    users[0].kill()

    assert hosts == {f"{data_dir}/new/postgres/socket"}
    assert answers(*hosts)
    assert [each.communicate() for each in users] == [("", "")] * 3
    assert processes(data_dir) == []


def test_second_container_is_rejected_until_the_first_one_is_killed(server: Server, data_dir: Path) -> None:
    first = user(data_dir, *OTHER_CONTAINER, "--kill-child")
    assert host_of(first)
    pid = postmaster(server)

    second = user(data_dir, *OTHER_CONTAINER)
    out, err = second.communicate()

    assert (out, second.returncode, postmaster(server)) == ("", 1, pid)
    assert f"EmbeddedError: The data folder {data_dir} is in use by a PostgreSQL" in err
    assert first.poll() is None
    first.kill()
    first.communicate()
    assert answers(server.acquire())


def test_process_that_outlives_its_postmaster_holds_the_folder(
    server: Server, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = connect(server.acquire())
    backend = database.info.backend_pid
    os.kill(backend, signal.SIGSTOP)
    kill(postmaster(server))
    server._forget()
    monkeypatch.setattr("fizzbuzz_site.embedded.server.START_STOP_TIMEOUT_SECONDS", 0)

    with pytest.raises(EmbeddedError, match="is in use by a PostgreSQL that does not respond or can't be reached"):
        server.acquire()

    kill(backend)
    database.close()
    monkeypatch.undo()
    assert answers(server.acquire())


def test_server_of_an_earlier_version_without_lock_is_shared(server: Server, data_dir: Path) -> None:
    server.acquire()
    pid = postmaster(server)
    (server.home / "cluster.lock").unlink()
    server._forget()

    assert answers(server.acquire())
    assert postmaster(server) == pid
    server.release()
    assert eventually(lambda: processes(data_dir) == [])  # without the lock, only its PID file shows that it ended


def test_superuser_of_an_earlier_version_is_demoted(data_dir: Path) -> None:
    server = Server(data_dir / "earlier")
    cluster = server.home / "data"
    cluster.mkdir(parents=True)
    server.home.chmod(0o711)
    server.programs.chown(cluster)
    run = partial(server.programs.run, cwd=cluster)
    assert run("initdb", "-D", ".", "-U", USER, "--auth=trust", "--locale=C", "--encoding=UTF8").returncode == 0
    for name, script in (("postgres", f"CREATE DATABASE {DATABASE};\n"), (DATABASE, EARLIER)):
        assert run("postgres", "--single", "-D", ".", "-c", "exit_on_error=on", name, stdin=script).returncode == 0

    try:
        for _ in range(2):  # the second start finds nothing to do
            check_roles(server, password=True)
            server.release()
        with connect(server.acquire()) as database:
            database.execute("INSERT INTO fizzbuzz_submission (number) VALUES (7)")
            database.execute("ALTER TABLE fizzbuzz_submission ADD COLUMN more int")
            rows = database.execute("SELECT id, number FROM fizzbuzz_submission ORDER BY id").fetchall()
        assert rows == [(1, 15), (2, 7)]
    finally:
        server.release()
