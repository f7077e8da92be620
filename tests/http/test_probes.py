import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from fizzbuzz_site.embedded.server import Server
from fizzbuzz_site.http import monitoring
from tests.fresh import a_second_later
from tests.marks import commits
from tests.service import Service, eventually, processes, serving

READY = {"status": "ok", "checks": {"database": "ok", "migrations": "ok", "sequence": "ok"}}
UNAVAILABLE = {
    "status": "unavailable",
    "checks": {"database": "unreachable", "migrations": "unknown", "sequence": "unknown"},
}


@pytest.fixture
def service(data_dir: Path) -> Iterator[Service]:
    # One worker: others would keep their last check for a second.
    with serving(DATA_DIR=str(data_dir), WEB_CONCURRENCY="1") as service:
        yield service


def postgres(data_dir: Path) -> list[int]:
    """Return the IDs of the server's processes, the postmaster's first."""
    cluster = str(data_dir.resolve() / "postgres/data")
    return sorted(pid for pid in processes(data_dir) if _cwd(pid) == cluster)


def _cwd(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except FileNotFoundError:  # it ended in the meantime
        return None


def test_readiness_follows_the_databases_stop_and_restart(service: Service, data_dir: Path) -> None:
    assert eventually(lambda: service.request("/health").status == 200)
    assert service.request("/health").json() == READY

    os.kill(postgres(data_dir)[0], signal.SIGINT)
    assert eventually(lambda: not postgres(data_dir))
    assert eventually(lambda: service.request("/health").status == 503)
    unready = service.request("/health")
    rejected = service.request("/api/fizzbuzz", {"number": 1})
    assert (unready.status, unready.json()) == (503, UNAVAILABLE)
    assert (rejected.status, rejected.headers["Retry-After"]) == (503, "5")
    assert service.request("/health/live").status == 200

    server = Server(data_dir)
    server.acquire()
    assert eventually(lambda: service.request("/api/fizzbuzz", {"number": 1}).status == 201)
    assert eventually(lambda: service.request("/health").json() == READY)
    server.release()


def test_readiness_times_out_if_the_database_hangs(service: Service, data_dir: Path) -> None:
    stopped = postgres(data_dir)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        answers = []
        for _ in range(3):
            start = time.monotonic()
            answers.append((service.request("/health").json(), time.monotonic() - start < 3))
        alive = service.request("/health/live").status
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)

    # The one asserted time: orchestrators' probes time out after three seconds.
    assert answers == [(UNAVAILABLE, True)] * 3
    assert alive == 200
    assert eventually(lambda: service.request("/health").json() == READY)


@pytest.mark.parametrize("path", ["/health", "/health/live"])
@pytest.mark.django_db
def test_probes_accept_any_host_and_plain_http(client: Client, settings: object, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True  # type: ignore[attr-defined]

    response = client.get(path, headers={"host": "10.0.0.7:8080"})

    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers


@pytest.mark.django_db
def test_readiness_requires_all_migrations(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    known = monitoring._known_migrations()
    monkeypatch.setattr(monitoring, "_known_migrations", lambda: known | {("fizzbuzz", "9999_tomorrow")})

    response = client.get("/health")

    assert (response.status_code, response.json()) == (
        503,
        {"status": "unavailable", "checks": {"database": "ok", "migrations": "1 not applied", "sequence": "unknown"}},
    )


@pytest.mark.parametrize(("path", "status"), [("/healthz", 404), ("/api/healthz", 404), ("/", 400)])
def test_unknown_path_by_ip_address_is_404(client: Client, path: str, status: int) -> None:
    assert client.get(path, headers={"host": "10.0.0.7:8080"}).status_code == status


@pytest.mark.django_db
def test_readiness_names_a_read_only_database_and_stays_200(client: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT format('ALTER DATABASE %I SET default_transaction_read_only = ', current_database())")
        (alter,) = cursor.fetchone()
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(alter + "on")
        response = client.get("/health")
        cursor.execute(alter + "off")

    assert (response.status_code, response.json()["status"]) == (200, "ok")
    assert response.json()["checks"] == {"database": "read-only", "migrations": "ok", "sequence": "ok"}


@commits
def test_readiness_names_missing_rights_and_logs_them_once(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with connection.cursor() as cursor:
        cursor.execute("REVOKE SELECT ON fizzbuzz_watermark FROM CURRENT_USER")
    responses = []
    for _ in range(2):
        a_second_later()
        responses.append(client.get("/health"))
    with connection.cursor() as cursor:
        cursor.execute("GRANT SELECT ON fizzbuzz_watermark TO CURRENT_USER")
    a_second_later()
    recovered = client.get("/health")

    denied = "permission denied for table fizzbuzz_watermark"
    assert [(each.status_code, each.json()["checks"]["database"]) for each in responses] == [(503, denied)] * 2
    assert recovered.json() == READY
    assert [each.getMessage() for each in caplog.records] == [
        f"The database fails: {denied}",
        "The database works again, after 0 s",
    ]
