"""What operators and orchestrators ask: /info, readiness, liveness and the access to /metrics."""

import os
import platform
import re
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import connection
from django.test import Client

from fizzbuzz_site import __version__
from fizzbuzz_site.http import monitoring
from tests.fresh import a_second_later
from tests.marks import commits
from tests.service import children, eventually, serving

READY: dict[str, Any] = {"status": "ok", "checks": {"database": "ok", "migrations": "ok", "sequence": "ok"}}
WATERMARK = "fizzbuzz_watermark"
MISSING = f'relation "{WATERMARK}" does not exist'
READ_ONLY = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {}', current_database()); END $$"
UNAVAILABLE: dict[str, Any] = {
    "status": "unavailable",
    "checks": {"database": "unreachable", "migrations": "unknown", "sequence": "unknown"},
}


def test_readiness_of_a_hung_database_is_answered_within_three_seconds(data_dir: Path) -> None:
    # One worker: others would keep their last check for a second.
    with serving(DATA_DIR=str(data_dir), WEB_CONCURRENCY="1") as service:

        def health() -> tuple[int, object]:
            answer = service.request("/health")
            return answer.status, answer.json()

        assert eventually(lambda: health() == (200, READY))
        postmaster = int((data_dir / "postgres/data/postmaster.pid").read_text().split()[0])
        stopped = [postmaster, *children(postmaster)]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        assert eventually(lambda: health() == (503, UNAVAILABLE))
        start = time.monotonic()
        again, seconds = health(), time.monotonic() - start
        alive = service.request("/health/live").status
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)

        assert (again, alive) == ((503, UNAVAILABLE), 200)
        assert seconds < 3  # the one asserted time: orchestrators' probes time out then
        assert eventually(lambda: health() == (200, READY))


@commits
@pytest.mark.parametrize("path", ["/health", "/health/live", "/metrics"])
def test_any_host_and_plain_http_are_accepted(client: Client, settings: Any, path: str) -> None:
    settings.SECURE_SSL_REDIRECT = True

    response = client.get(path, headers={"host": "10.0.0.7:8080"})

    assert response.status_code == 200
    assert path == "/metrics" or response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(("path", "status"), [("/healthz", 404), ("/api/healthz", 404), ("/", 400)])
def test_unknown_path_by_ip_address_is_404(client: Client, path: str, status: int) -> None:
    assert client.get(path, headers={"host": "10.0.0.7:8080"}).status_code == status


def readiness(client: Client) -> tuple[int, str, dict[str, str]]:
    a_second_later()
    response = client.get("/health")
    return (response.status_code, *response.json().values())


@pytest.mark.django_db
def test_readiness_requires_all_migrations(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    known = monitoring._known_migrations()
    monkeypatch.setattr(monitoring, "_known_migrations", lambda: known | {("fizzbuzz", "9999_tomorrow")})

    checks = {"database": "ok", "migrations": "1 not applied", "sequence": "unknown"}
    assert readiness(client) == (503, "unavailable", checks)
    assert client.options("/health").status_code == client.head("/health").status_code == 503


@commits
@pytest.mark.parametrize(
    ("statements", "expected", "logged"),
    [
        (
            (
                READ_ONLY.format("SET default_transaction_read_only = on"),
                READ_ONLY.format("RESET default_transaction_read_only"),
            ),
            (200, "ok", READY["checks"] | {"database": "read-only"}),
            "",
        ),
        (
            (f"ALTER TABLE {WATERMARK} RENAME TO elsewhere", f"ALTER TABLE elsewhere RENAME TO {WATERMARK}"),
            (503, "unavailable", UNAVAILABLE["checks"] | {"database": MISSING}),
            f"The database fails: {MISSING} .*\nThe database works again, after \\d s",
        ),
    ],
    ids=["read-only", "missing table"],
)
def test_readiness_names_the_fault_and_logs_it_once(
    client: Client, caplog: pytest.LogCaptureFixture, statements: tuple[str, str], expected: Any, logged: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements[0])
        try:
            found = [readiness(client) for _ in range(2)]
        finally:
            cursor.execute(statements[1])

    assert found == [expected] * 2
    assert readiness(client) == (200, "ok", READY["checks"])
    messages = "\n".join(each.getMessage() for each in caplog.records if each.name == "fizzbuzz.db.faults")
    assert re.fullmatch(logged, messages)


@pytest.mark.django_db
def test_info_returns_versions_without_a_statement(
    client: Client, settings: Any, django_assert_num_queries: Any
) -> None:
    settings.REVISION = "0123abc"
    major, minor = divmod(connection.cursor().connection.info.server_version, 10_000)

    with django_assert_num_queries(0):
        response = client.get("/info")

    assert (response.status_code, response["Content-Type"]) == (200, "application/json")
    body = response.json()
    assert body.pop("database").startswith(f"PostgreSQL {major}.{minor}")
    assert datetime.fromisoformat(body["started_at"]).tzinfo
    assert body == {
        "name": "fizzbuzz",
        "version": __version__,
        "revision": "0123abc",
        "python": platform.python_version(),
        "django": django.get_version(),
        "started_at": monitoring.WORKER_STARTED_AT.isoformat(),
    }


@commits
def test_metrics_require_the_token_and_are_forbidden_without_one(client: Client, settings: Any) -> None:
    settings.METRICS_PUBLIC = False
    disabled = client.get("/metrics")
    assert disabled.status_code == 403
    assert disabled.text == "Metrics are disabled. Set METRICS_TOKEN or METRICS_PUBLIC=1.\n"

    settings.METRICS_TOKEN = "secret"
    for sent in ("", "Bearer", "Bearer secre", "Bearer secret2", "secret", "Bearer sécret"):
        answer = client.get("/metrics", headers={"Authorization": sent})
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.text == 'Send "Authorization: Bearer <METRICS_TOKEN>".\n'
    assert client.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200
