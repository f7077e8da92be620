"""Settings of a role or a database, as a provider makes them, do not change what the service does."""

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from fizzbuzz.db.base import SESSION
from fizzbuzz.db.deadline import connect_with_deadline
from fizzbuzz.submissions import record
from tests.marks import commits
from tests.service import ROOT

PROVIDERS_SETTINGS = {
    "DateStyle": "SQL, DMY",
    "TimeZone": "Asia/Kolkata",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "1ms",
    "client_min_messages": "error",
    "IntervalStyle": "iso_8601",
    "jit": "on",
    "max_parallel_workers_per_gather": "4",
}


@pytest.fixture
def _provider() -> Iterator[None]:
    with connection.cursor() as cursor:
        for name, value in PROVIDERS_SETTINGS.items():
            cursor.execute(f"ALTER ROLE CURRENT_USER SET {name} = '{value}'")
    connection.close()
    record.inserter.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute("ALTER ROLE CURRENT_USER RESET ALL")


@commits
@pytest.mark.usefixtures("_provider")
def test_settings_of_a_role_have_no_effect(client: Client) -> None:
    expected = {
        **SESSION,
        "DateStyle": "ISO, MDY",
        "TimeZone": "UTC",
        "default_transaction_isolation": "read committed",
    }
    with connection.cursor() as cursor:
        for name, value in expected.items():
            cursor.execute(f"SHOW {name}")
            assert (name, *cursor.fetchone()) == (name, value)
    with connect_with_deadline(1) as private:
        assert private.execute("SHOW DateStyle").fetchone() == ("ISO, MDY",)
        assert private.execute("SHOW statement_timeout").fetchone() == ("900ms",)

    for path, body in (("/api/fizzbuzz", {"number": 15}), ("/api/fizzbuzz/batch", {"numbers": [15, 16]})):
        for headers in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "k"}):
            assert client.post(path, body, "application/json", headers=headers).status_code == 201
    pages = ["/", "/live", "/stats", "/numbers/15", "/api/fizzbuzz", "/api/most_common?since=2026-01-01", "/health"]
    assert {path: client.get(path).status_code for path in pages} == dict.fromkeys(pages, 200)
    call_command("migrate", verbosity=0)
    call_command("top_numbers", "--verify")


def test_pgbouncer_sets_what_it_accepts_from_no_client() -> None:
    shipped = (ROOT / "deploy/pgbouncer/pgbouncer.ini").read_text().replace("''read committed''", r"read\ committed")

    assert [name for name, value in SESSION.items() if f"SET {name} = {value}" not in shipped] == []
