"""`manage.py serve` from its start to its stop: what it inherits, its processes, and connections at the stop."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from fizzbuzz_site.embedded.server import DATABASE, SUPERUSER, USER, Server
from tests.clients import submitting
from tests.proxy import free_port
from tests.raw import answer, connect, post
from tests.service import (
    ROOT,
    SECRET_KEY,
    TIMEOUT_SECONDS,
    Service,
    children,
    eventually,
    manage,
    processes,
    serving,
    url_of,
)

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


def finish(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = manage(*arguments, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("kill", "signum"),
    [
        pytest.param(os.kill, signal.SIGTERM, marks=pytest.mark.smoke),
        (os.kill, signal.SIGINT),
        (os.killpg, signal.SIGINT),
    ],
    ids=["supervisor", "interrupt", "Ctrl-C in a terminal, which signals the workers, and so does the master"],
)
def test_signal_stops_all_processes(data_dir: Path, kill: Callable[[int, int], None], signum: int) -> None:
    service = Service(DATA_DIR=str(data_dir))
    assert len(processes(data_dir)) > 3

    kill(service.process.pid, signum)

    _, errors = service.process.communicate(timeout=60)
    assert (service.process.returncode, errors) == (0, "")
    assert processes(data_dir) == []


def test_signal_during_the_first_start_stops_all_processes(empty_data_dir: Path) -> None:
    process = manage("serve", PORT="0", DATA_DIR=str(empty_data_dir))
    assert eventually((empty_data_dir / "postgres/data/postmaster.pid").exists)

    process.terminate()
    process.communicate(timeout=60)

    assert processes(empty_data_dir) == []


@pytest.mark.smoke
def test_acknowledged_submissions_survive_kill_9_of_every_process(data_dir: Path) -> None:
    environment = {"DATA_DIR": str(data_dir), "PORT": str(free_port())}
    service = Service(**environment)
    with submitting(lambda: service.address, "killed", clients=4) as ledger:
        assert eventually(lambda: ledger.acknowledged >= 50)
        for pid in processes(data_dir):
            os.kill(pid, signal.SIGKILL)
        service.process.communicate()
        assert eventually(lambda: not processes(data_dir))
        again = Service(**environment)

    with psycopg.connect(url_of(Server(data_dir).host)) as database:
        assert ledger.compare(database) == []
    again.stop()


def test_command_starts_and_stops_the_server(empty_data_dir: Path) -> None:
    (empty_data_dir / "postgres/data.new/base").mkdir(parents=True)  # of an initdb that was killed

    migrated = finish("migrate", "--verbosity", "0", DATA_DIR=str(empty_data_dir))
    listed = finish("top_numbers", DATA_DIR=str(empty_data_dir))

    assert migrated == (0, "", "")
    assert listed == (0, "No numbers have been submitted yet.\n", "")
    assert processes(empty_data_dir) == []


def test_port_in_use_is_reported_in_one_line(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = finish("serve", PORT=str(port), DATA_DIR=str(data_dir))

    reason = f"Can't listen on 127.0.0.1 port {port} (Address already in use)"
    assert failed == (1, "", f"CommandError: {reason}: set HOST or PORT to another value.\n")
    assert processes(data_dir) == []


def test_slow_query_blocks_no_other_request(database_url: str) -> None:
    environment = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY, "WEB_CONCURRENCY": "1"}

    with serving(**environment) as service, ThreadPoolExecutor() as pool, psycopg.connect(database_url) as database:
        database.execute("LOCK TABLE fizzbuzz_watermark IN ACCESS EXCLUSIVE MODE")
        slow = pool.submit(service.request, "/api/most_common")
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        assert eventually(lambda: database.execute(waits).fetchone() == (1,))

        assert service.request("/api/schema").status == 200
        assert service.request("/api/fizzbuzz").status == 200
        assert not slow.done()
        database.rollback()
        assert slow.result().status == 200


def test_external_server_is_not_migrated_without_the_option(database_url: str) -> None:
    with psycopg.connect(database_url, user=SUPERUSER, autocommit=True) as database:
        database.execute(f"CREATE DATABASE empty OWNER {USER} TEMPLATE template0")
    database_url = database_url.replace(f"/{DATABASE}?", "/empty?")

    code, errors = Service(DATABASE_URL=database_url, SECRET_KEY=SECRET_KEY).stop()

    assert code == 0
    warning, *folds = errors.splitlines()
    assert re.fullmatch(r"warning: \d+ migrations are not applied: run manage.py migrate", warning)
    assert all("The database fails: " in line for line in folds)  # one of each worker, if it lived long enough


def test_external_server_without_durability_causes_a_warning(database_url: str) -> None:
    url = f"{database_url}&options=-c%20synchronous_commit%3Doff"

    assert Service(DATABASE_URL=url, SECRET_KEY=SECRET_KEY).stop() == (
        0,
        "warning: PostgreSQL runs with synchronous_commit=off: a crash can lose acknowledged submissions\n",
    )


def test_idle_connections_are_closed_before_requests_end(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    with ExitStack() as open_:
        used, unused, head, body = (open_.enter_context(connect(service)) for _ in range(4))
        used.sendall(LIVE + b"\r\n")
        assert answer(used).status == 200
        head.sendall(LIVE)
        body.sendall(post(b"Content-Length: 14") + b'{"number":')
        time.sleep(0.5)  # until the workers have read it

        service.process.send_signal(signal.SIGTERM)

        assert used.recv(1) == b""
        assert unused.recv(1) == b""
        head.sendall(b"\r\n")
        body.sendall(b" 15}")
        assert answer(head).status == 200
        assert answer(body).status == 201
    assert service.stop() == (0, "")


def test_reload_closes_the_old_workers_idle_connections(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    with connect(service) as idle:
        idle.sendall(LIVE + b"\r\n")
        assert answer(idle).status == 200
        old = set(children(service.process.pid))

        service.process.send_signal(signal.SIGHUP)

        assert idle.recv(1) == b""
        assert eventually(lambda: old.isdisjoint(children(service.process.pid)))
    assert service.stop() == (0, "")


def healthy(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=TIMEOUT_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("redirections", ["", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-"])
def test_service_needs_no_stream_and_no_working_folder(data_dir: Path, tmp_path: Path, redirections: str) -> None:
    port = free_port()
    reader, broken_pipe = os.pipe()
    os.close(reader)
    folder, errors = tmp_path / "deleted", tmp_path / "stderr"
    folder.mkdir()
    with errors.open("wb") as stderr:
        served = subprocess.Popen(
            ["/bin/sh", "-c", f'rmdir "$PWD"; exec "$0" "$1" serve {redirections}', sys.executable, ROOT / "manage.py"],
            cwd=folder,
            env={"PORT": str(port), "DATA_DIR": str(data_dir), "LOG_LEVEL": "warning"},
            stdout=broken_pipe,
            stderr=stderr,
        )
    os.close(broken_pipe)

    assert eventually(lambda: healthy(port) or served.poll() is not None)
    served.terminate()
    assert (served.wait(TIMEOUT_SECONDS), errors.read_text()) == (0, "")


def test_reload_in_a_deleted_working_folder_is_rejected(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "deleted"
    folder.mkdir()
    (folder / "manage.py").symlink_to(ROOT / "manage.py")
    monkeypatch.setattr(Service, "code", folder)
    service = Service(DATA_DIR=str(data_dir))
    shutil.rmtree(folder)

    service.process.send_signal(signal.SIGHUP)
    assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
    code, errors = service.stop()

    assert (code, errors.count("Reload rejected")) == (0, 1)
    assert f"No such file or directory: '{folder}'" in errors
