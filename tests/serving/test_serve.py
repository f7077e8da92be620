import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

import psycopg
import pytest

from fizzbuzz_site.embedded.server import DATABASE, SUPERUSER, USER, Server
from tests.service import ROOT, SECRET_KEY, Service, eventually, manage, processes, serving, url_of


@pytest.fixture(scope="module")
def service(shared_data_dir: Path) -> Iterator[Service]:
    with serving(DATA_DIR=str(shared_data_dir)) as service:
        yield service


def finish(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = manage(*arguments, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.smoke
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_processes(data_dir: Path, signum: int) -> None:
    service = Service(DATA_DIR=str(data_dir))
    assert len(processes(data_dir)) > 3

    assert service.stop(signum) == (0, "")

    assert processes(data_dir) == []


def test_ctrl_c_in_a_terminal_stops_all_processes_without_a_traceback(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))

    os.killpg(service.process.pid, signal.SIGINT)  # the terminal signals the workers, and so does the master

    _, errors = service.process.communicate(timeout=60)
    assert (service.process.returncode, errors) == (0, "")
    assert processes(data_dir) == []


@pytest.mark.smoke
def test_signal_during_the_first_start_stops_all_processes(empty_data_dir: Path) -> None:
    process = manage("serve", PORT="0", DATA_DIR=str(empty_data_dir))
    assert eventually((empty_data_dir / "postgres/data/postmaster.pid").exists)

    process.terminate()
    process.communicate(timeout=60)

    assert processes(empty_data_dir) == []


@pytest.mark.smoke
def test_acknowledged_submissions_survive_kill_9_of_every_process(data_dir: Path) -> None:
    service = Service(DATA_DIR=str(data_dir))
    acknowledged: list[int] = []

    def submit() -> None:
        with suppress(OSError, HTTPException):
            while (answer := service.request("/api/fizzbuzz", {"number": 15})).status == 201:
                acknowledged.append(answer.json()["id"])

    clients = [threading.Thread(target=submit) for _ in range(4)]
    for client in clients:
        client.start()
    assert eventually(lambda: len(acknowledged) >= 50)
    for pid in processes(data_dir):
        os.kill(pid, signal.SIGKILL)
    for client in clients:
        client.join()
    service.process.communicate()
    assert eventually(lambda: not processes(data_dir))

    with serving(DATA_DIR=str(data_dir)) as again:
        (most_common,) = again.request("/api/most_common").json()
        found = {id_ for id_ in acknowledged if again.request(f"/api/fizzbuzz/{id_}").status == 200}

    assert found == set(acknowledged)
    # The last request of each client may have been recorded although its response was lost.
    assert len(acknowledged) <= most_common["count"] <= len(acknowledged) + len(clients)


def test_command_uses_the_running_server(service: Service, shared_data_dir: Path) -> None:
    service.request("/api/fizzbuzz", {"number": 9})

    code, out, err = finish("top_numbers", "--format", "json", "--limit", "100", DATA_DIR=str(shared_data_dir))

    assert (code, err) == (0, "")
    assert '{"number": 9, "result": "Fizz", "count": ' in out
    assert service.request("/health").status == 200


def test_command_starts_and_stops_the_server(empty_data_dir: Path) -> None:
    migrated = finish("migrate", "--verbosity", "0", DATA_DIR=str(empty_data_dir))
    listed = finish("top_numbers", DATA_DIR=str(empty_data_dir))

    assert migrated == (0, "", "")
    assert listed == (0, "No numbers have been submitted yet.\n", "")
    assert processes(empty_data_dir) == []


@pytest.mark.smoke
def test_metrics_are_sums_over_all_workers(data_dir: Path) -> None:
    with serving(DATA_DIR=str(data_dir)) as service:
        workers: set[str] = set()
        numbers = 0
        while len(workers) < 2 or numbers < 40:
            assert service.request("/api/fizzbuzz", {"number": 10}).status == 201
            numbers += 1
            # Workers can be distinguished by /info's start time.
            workers.add(service.request("/info").json()["started_at"])
        metrics = {service.request("/metrics").body for _ in range(10)}

    name = "django_http_requests_total_by_view_transport_method_total"
    executes = re.compile(r'^django_db_execute_total\{alias="default",vendor="postgresql"\} (\S+)$', re.MULTILINE)
    for page in metrics:
        assert f'fizzbuzz_submissions_total{{channel="api",kind="Buzz"}} {numbers}.0' in page
        assert f'{name}{{method="POST",transport="http",view="submission-list"}} {numbers}.0' in page
        executed = executes.search(page)
        assert executed
        assert float(executed[1]) >= numbers


def test_master_imports_neither_django_nor_psycopg() -> None:
    code = "import sys, fizzbuzz_site.serving.gunicorn_config; print({'django', 'psycopg'} & {*sys.modules})"

    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout == "set()\n"


def test_port_in_use_is_reported_in_one_line(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = finish("serve", PORT=str(port), DATA_DIR=str(data_dir))

    assert failed == (
        1,
        "",
        (
            f"CommandError: Can't listen on 127.0.0.1 port {port} (Address already in use): "
            "set HOST or PORT to another value.\n"
        ),
    )
    assert processes(data_dir) == []


@pytest.fixture
def database_url(data_dir: Path) -> Iterator[str]:
    """Start a server that the service uses as an external one; its database is migrated."""
    server = Server(data_dir)
    yield url_of(server.acquire())
    server.release()


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
