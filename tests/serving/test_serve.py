"""`manage.py serve` from its start to its stop: processes, streams and connections, and code that can't be loaded."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management.base import CommandError

from fizzbuzz_site.management.commands.serve import Command
from tests.proxy import free_port, listens
from tests.raw import answer, connect, post
from tests.replication import single
from tests.service import (
    ROOT,
    SECRET_KEY,
    TIMEOUT_SECONDS,
    Service,
    children,
    eventually,
    processes,
    send,
    start,
)

BROKEN = "no python\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.smoke
def test_acknowledged_submission_survives_kill_9_and_ctrl_c_stops_all_processes(data_dir: Path) -> None:
    environment = {"DATA_DIR": str(data_dir), "LOG_LEVEL": "warning", "WEB_CONCURRENCY": "1"}
    service = Service(**environment)
    assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
    killed = processes(data_dir)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    service.process.communicate()
    assert eventually(lambda: not processes(data_dir))

    again = Service(**environment)

    assert len(killed) > 3
    assert again.request("/api/numbers/15").json()["count"] == 1
    os.killpg(again.process.pid, signal.SIGINT)  # in a terminal, it signals the workers, and so does the master
    assert (again.process.communicate(timeout=TIMEOUT_SECONDS)[1], again.process.returncode) == ("", 0)
    assert processes(data_dir) == []


def test_port_in_use_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        _, port = taken.getsockname()
        monkeypatch.setattr(settings, "PORT", port)
        reason = rf"Can't listen on 127\.0\.0\.1 port {port} \(Address already in use\)"
        with pytest.raises(CommandError, match=f"^{reason}: set HOST or PORT to another value\\.$"):
            Command()._listen()


def test_external_server_causes_warnings_and_is_not_migrated_without_the_option(data_dir: Path) -> None:
    with single(data_dir, empty=True) as node:
        url = f"{node.conninfo}?options=-c%20synchronous_commit%3Doff"
        code, errors = Service(DATABASE_URL=url, SECRET_KEY=SECRET_KEY, WEB_CONCURRENCY="1").stop()

    assert code == 0
    missing, lossy, *folds = errors.splitlines()
    assert re.fullmatch(r"warning: \d+ migrations are not applied: run manage.py migrate", missing)
    assert lossy == "warning: PostgreSQL runs with synchronous_commit=off: a crash can lose acknowledged submissions"
    assert all("The database fails: " in line for line in folds)  # one of each worker, if it lived long enough


def test_reload_and_stop_close_idle_connections_before_requests_end(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir), WEB_CONCURRENCY="1")
    with ExitStack() as open_:
        old = open_.enter_context(connect(service))
        old.sendall(LIVE + b"\r\n")
        assert answer(old).status == 200
        workers = set(children(service.process.pid))

        service.process.send_signal(signal.SIGHUP)

        assert old.recv(1) == b""
        assert eventually(lambda: workers.isdisjoint(children(service.process.pid)))
        used, unused, head, body = (open_.enter_context(connect(service)) for _ in range(4))
        used.sendall(LIVE + b"\r\n")
        assert answer(used).status == 200
        head.sendall(LIVE)
        body.sendall(post(b"Content-Length: 14") + b'{"number":')
        time.sleep(0.5)  # until the workers have read it

        service.process.send_signal(signal.SIGTERM)

        assert (used.recv(1), unused.recv(1)) == (b"", b"")
        head.sendall(b"\r\n")
        body.sendall(b" 15}")
        assert (answer(head).status, answer(body).status) == (200, 201)
    assert service.stop() == (0, "")


@pytest.mark.parametrize("redirections", ["2>/dev/full", "<&- >&- 2>&-"])
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
            env={"PORT": str(port), "DATA_DIR": str(data_dir), "LOG_LEVEL": "warning", "WEB_CONCURRENCY": "1"},
            stdout=broken_pipe,
            stderr=stderr,
        )
    os.close(broken_pipe)

    assert eventually(lambda: listens(port) or served.poll() is not None)
    assert send(f"http://127.0.0.1:{port}/health").status == 200
    served.terminate()
    assert (served.wait(TIMEOUT_SECONDS), errors.read_text()) == (0, "")


@pytest.fixture
def copy(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the project's code to a folder that services start from."""
    folder = data_dir.parent / "project"
    folder.mkdir()
    for name in ("fizzbuzz", "fizzbuzz_site", "templates", "static", "staticfiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", folder)
    monkeypatch.setattr(Service, "code", folder)
    return folder


def started_at(service: Service) -> set[str]:
    """Return the start times of the workers that respond."""
    return {service.request("/info").json()["started_at"] for _ in range(20)}


@pytest.mark.parametrize(
    ("broken", "text", "message"),
    [
        ("fizzbuzz/pages/views.py", BROKEN, "SyntaxError: invalid syntax\n"),
        ("templates/stats.html", "{% if %}", "templates/stats.html\n"),
        ("static/new.css", "", "staticfiles/ is missing or outdated: run manage.py collectstatic --noinput\n"),
    ],
)
def test_service_does_not_start_with_broken_code(
    copy: Path, data_dir: Path, broken: str, text: str, message: str
) -> None:
    (copy / broken).write_text(text)

    process = start(["serve"], {"PORT": "0", "DATA_DIR": str(data_dir)}, code=copy)
    out, errors = process.communicate(timeout=60)

    assert (process.returncode, out) == (1, "")
    assert errors.endswith(message)
    assert len(errors.splitlines()) < 40  # one traceback, not one per worker
    assert processes(data_dir) == []


def test_reload_of_broken_code_or_in_a_deleted_folder_keeps_the_workers(copy: Path, data_dir: Path) -> None:
    for name in ("static/.DS_Store", "static/base.css~", "templates/.#home.html"):
        (copy / name).write_bytes(b"{% if \xff")  # files of editors and systems are ignored
    service = Service(DATA_DIR=str(data_dir))
    try:
        assert eventually(lambda: len(started_at(service)) == 2)
        before = started_at(service)
        workers = children(service.process.pid)
        views = copy / "fizzbuzz/pages/views.py"
        working = views.read_text()
        views.write_text(BROKEN)

        for _ in range(2):
            service.process.send_signal(signal.SIGHUP)
        # A worker that dies now can't be replaced. The other one must go on.
        os.kill(workers[0], signal.SIGKILL)

        assert eventually(lambda: workers[0] not in children(service.process.pid))
        assert eventually(lambda: started_at(service) < before)
        assert service.request("/").status == 200

        views.write_text(working)
        service.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: len(after := started_at(service)) == 2 and after.isdisjoint(before))
        assert service.request("/").status == 200

        copy.rename(copy.with_name("elsewhere"))
        service.process.send_signal(signal.SIGHUP)
        assert service.request("/api/fizzbuzz", {"number": 15}).status == 201
    finally:
        code, errors = service.stop()

    assert code == 0
    assert errors.count("Reload rejected") in {2, 3}
    assert f"No such file or directory: '{copy}'" in errors
