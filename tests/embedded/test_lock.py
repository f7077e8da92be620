"""One server per data folder, for processes with any user, capabilities and namespaces."""

import os
import signal
from pathlib import Path

import pytest

from fizzbuzz_site.embedded.server import EmbeddedError, Server
from tests.embedded.users import answers, connect, host_of, kill, postmaster, user
from tests.service import eventually, processes

# The capabilities of root in a container, which cannot inspect other users' processes.
WITHOUT_PTRACE = (
    "setpriv",
    "--inh-caps=-all",
    "--bounding-set=-all,+chown,+dac_override,+fsetid,+fowner,+kill,+setgid,+setuid,+setpcap,+net_bind_service",
)
OTHER_CONTAINER = ("unshare", "--pid", "--ipc", "--net", "--mount", "--fork", "--mount-proc")


def test_process_without_ptrace_shares_the_server(server: Server, data_dir: Path) -> None:
    first = user(data_dir, *WITHOUT_PTRACE)
    assert host_of(first) == f"{server.home}/socket"
    pid = postmaster(server)

    out, err = user(data_dir, *WITHOUT_PTRACE).communicate()

    assert (out, err, postmaster(server)) == (f"{server.home}/socket\n", "", pid)
    assert answers(server.host)
    assert first.communicate() == ("", "")
    assert processes(data_dir) == []


def test_first_users_that_start_concurrently_share_one_server(empty_data_dir: Path) -> None:
    users = [user(empty_data_dir) for _ in range(3)]
    hosts = {host_of(each) for each in users}

    users[0].kill()

    assert hosts == {f"{empty_data_dir}/postgres/socket"}
    assert answers(*hosts)
    assert [each.communicate() for each in users] == [("", "")] * 3
    assert processes(empty_data_dir) == []


def test_other_container_starts_no_second_server(server: Server, data_dir: Path) -> None:
    with connect(server.acquire()) as database:
        database.execute("CREATE TABLE kept AS SELECT 1 AS one")
        pid = postmaster(server)
        other = user(data_dir, *OTHER_CONTAINER)

        out, err = other.communicate()

        assert (out, other.returncode, postmaster(server)) == ("", 1, pid)
        assert f"EmbeddedError: The data folder {data_dir} is in use by a PostgreSQL" in err
        assert database.execute("SELECT * FROM kept").fetchall() == [(1,)]


def test_folder_of_a_killed_container_can_be_used_again(server: Server, data_dir: Path) -> None:
    other = user(data_dir, *OTHER_CONTAINER, "--kill-child")
    assert host_of(other)
    assert "is in use by a PostgreSQL" in user(data_dir, *OTHER_CONTAINER).communicate()[1]

    other.kill()
    other.communicate()

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
