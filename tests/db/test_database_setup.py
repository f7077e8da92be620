"""What `migrate` checks and repairs besides the schema."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from fizzbuzz import database_setup
from fizzbuzz.counts import folding, ranking, verify
from fizzbuzz.models import Submission
from tests.fresh import a_second_later
from tests.log import INSERT, append, assert_exact, on_another_connection, open_transaction
from tests.service import eventually

pytestmark = pytest.mark.django_db(transaction=True)

SEQUENCE = database_setup.SEQUENCE
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
STATE = "SELECT last_value, is_called FROM fizzbuzz_submission_id_seq"


def execute(statement: str, *params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchone() if cursor.description else None


def let_next_id_be(value: int) -> None:
    execute(f"SELECT setval('{SEQUENCE}', %s, false)", value)


def ids() -> list[int]:
    return list(Submission.objects.order_by("id").values_list("id", flat=True))


def migrate() -> None:
    call_command("migrate", verbosity=0)


def ready(client: Client) -> tuple[int, str]:
    a_second_later()
    response = client.get("/health")
    return response.status_code, response.json()["checks"]["sequence"]


@pytest.fixture(autouse=True)
def _sequence_as_it_was() -> Iterator[None]:
    yield
    execute(f"ALTER SEQUENCE {SEQUENCE} INCREMENT 1 CACHE 1 NO CYCLE")
    let_next_id_be(1_000_000)


@pytest.mark.parametrize("restored", [False, True])
def test_sequence_behind_the_log_or_the_watermark_is_detected_and_raised(
    client: Client, caplog: pytest.LogCaptureFixture, *, restored: bool
) -> None:
    append(15, 15, 7)
    *_, highest = ids()
    if restored:  # a log that is older than the rollups
        folding.fold()
        execute("DELETE FROM fizzbuzz_submission WHERE id = %s", highest)
    let_next_id_be(highest)
    before = ready(client)

    migrate()

    assert before == (503, "behind the log: run migrate")
    assert ready(client) == (200, "ok")
    append(9)
    assert ids()[-1] == highest + 1
    assert ranking.count_of(9) == 1
    assert folding.fold() == (1 if restored else 4)
    assert (verify.rebuild() > 0) == restored  # the counts of the deleted row
    assert assert_exact() == len(ids())
    state = execute(STATE)
    migrate()
    assert execute(STATE) == state
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith(f"The sequence {SEQUENCE} was behind the log, and was raised to {highest}. ")


def test_sequence_is_not_moved_back_during_concurrent_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_setup, "sequence_status", lambda database: database_setup.BEHIND)  # just before
    append(15)
    *_, highest = ids()
    let_next_id_be(highest)

    with open_transaction() as writer, ThreadPoolExecutor(1) as pool:
        writer.execute("SELECT nextval('fizzbuzz_submission_id_seq')")  # like the failed INSERT with a duplicate key
        writer.execute(INSERT, [[7, 7, 7]])
        migration = pool.submit(on_another_connection, migrate)
        assert eventually(lambda: execute(WAITING) == (1,) or migration.done())
        writer.commit()
        migration.result()

    append(9)
    assert ids() == list(range(highest, highest + 5))


def test_sequence_that_cannot_be_locked_raises_command_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_setup, "SEQUENCE_LOCK_TIMEOUT_SECONDS", 0.05)
    append(15)
    let_next_id_be(1)

    with open_transaction() as writer:
        writer.execute("LOCK TABLE fizzbuzz_submission IN ROW EXCLUSIVE MODE")
        with pytest.raises(CommandError, match=r"could not be raised within 0.05 s: .* End it .* run migrate again"):
            migrate()


@pytest.mark.parametrize("option", ["CACHE 20", "INCREMENT -1", "CYCLE"])
def test_sequence_out_of_order_raises_command_error(client: Client, option: str) -> None:
    execute(f"ALTER SEQUENCE {SEQUENCE} MINVALUE -9 {option}")

    with pytest.raises(CommandError, match="run ALTER SEQUENCE fizzbuzz_submission_id_seq INCREMENT 1 CACHE 1"):
        migrate()

    assert ready(client) == (503, "out of order: run migrate")
