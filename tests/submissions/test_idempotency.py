"""Idempotency keys: repeated requests are recorded once, and acknowledged only with a commit of their own."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import F
from django.test import Client

from fizzbuzz.counts import folding
from fizzbuzz.models import IdempotencyKey, Submission
from fizzbuzz.submissions import idempotency
from tests.log import on_another_connection, open_transaction
from tests.marks import commits
from tests.problems import assert_problem
from tests.service import eventually

pytestmark = commits

ONE = ("/api/fizzbuzz", {"number": 15})
MANY = ("/api/fizzbuzz/batch", {"numbers": [3, 5, 3, 7]})
# Like a concurrent request, until its transaction ends.
HOLD = "INSERT INTO fizzbuzz_idempotencykey (key, submissions) VALUES (%s, '{}')"


def send(client: Client, path: str, body: Any, key: str) -> Any:
    return client.post(path, body, "application/json", headers={"Idempotency-Key": key})


def age(hours: int) -> None:
    IdempotencyKey.objects.update(created_at=F("created_at") - timedelta(hours=hours))


def submit() -> Any:
    return on_another_connection(lambda: send(Client(), *ONE, "k"))


@pytest.mark.parametrize(("path", "body"), [ONE, MANY])
def test_repeated_request_is_recorded_once_with_the_same_response(client: Client, path: str, body: Any) -> None:
    def version() -> Any:
        with connection.cursor() as cursor:
            cursor.execute("SELECT xmin::text, submissions, created_at FROM fizzbuzz_idempotencykey")
            return cursor.fetchone()

    first = send(client, path, body, "k")
    written, *kept = version()
    again = send(client, path, body, '"k"')  # quoted, as in the IETF draft
    written_again, *kept_again = version()

    assert (first.status_code, first.content, first.get("Location")) == (201, again.content, again.get("Location"))
    assert again.status_code == 201
    assert (first.get("Idempotency-Replayed"), again.get("Idempotency-Replayed")) == (None, "true")
    assert Submission.objects.count() == len(body.get("numbers", [0]))
    assert written_again != written  # so that its commit waits for standbys
    assert kept_again == kept


@pytest.mark.parametrize(
    ("path", "body", "other"), [(*ONE, {"number": 16}), (*MANY, {"numbers": [3, 5, 7, 3]}), (*MANY, {"numbers": [3]})]
)
def test_key_with_a_different_body_is_rejected(client: Client, path: str, body: Any, other: Any) -> None:
    send(client, path, body, "k")
    recorded = Submission.objects.count()

    rejected = send(client, path, other, "k")

    detail = (
        "This Idempotency-Key was already used with a different body. This request recorded nothing; use a new key."
    )
    assert_problem(rejected, "key-reused", detail, path)
    assert Submission.objects.count() == recorded


def test_key_is_of_one_url_and_not_used_by_a_rejected_submission(client: Client) -> None:
    assert send(client, "/api/fizzbuzz", {"number": "x"}, "k").status_code == 400
    assert send(client, "/api/fizzbuzz", {"number": 15}, "k").status_code == 201
    assert send(client, "/api/fizzbuzz/batch", {"numbers": [15]}, "k").status_code == 201
    assert Submission.objects.count() == 2


# A comma is what a header that was sent twice looks like.
@pytest.mark.parametrize(
    "key", ["", '""', "a b", 'a"b', "é", "x" * 256, "a\x7f", '"k', 'k"', "k,k", '"k","k"', 'k,"k"', ","]
)
def test_invalid_keys_are_rejected(client: Client, key: str) -> None:
    rejected = send(client, *ONE, key)

    assert rejected.status_code == 400
    assert rejected.json()["detail"].startswith("An Idempotency-Key is 1 to 255 visible ASCII characters")
    assert not Submission.objects.exists()


def test_wait_for_a_concurrent_request_has_a_timeout(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "KEY_LOCK_TIMEOUT_SECONDS", 0.2)
    key = str(uuid4())

    with open_transaction() as other:
        other.execute(HOLD, ["api:k"])
        other.execute(HOLD, [f"form:{key}:15"])
        rejected = send(client, *ONE, "k")
        form = client.post("/", {"number": "15", "key": key})

    detail = "Another request with this Idempotency-Key is still in progress. Try again in a moment."
    assert_problem(rejected, "key-in-progress", detail, ONE[0])
    assert form.status_code == 409
    assert detail in form.text
    assert not Submission.objects.exists()
    assert send(client, *ONE, "k").status_code == 201


def test_waiting_on_a_key_does_not_block_folds() -> None:
    def locks(condition: str) -> Any:
        return other.execute(f"SELECT count(*) FROM pg_locks WHERE {condition}").fetchone()

    with ThreadPoolExecutor() as pool, open_transaction() as other:
        other.execute(HOLD, ["api:k"])
        pool.submit(submit)
        assert eventually(lambda: locks("NOT granted") == (1,))
        assert locks("relation = 'fizzbuzz_submission'::regclass") == (0,)


def test_concurrent_requests_with_one_key_are_recorded_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = [each.result() for each in [pool.submit(submit) for _ in range(8)]]

    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(201, Submission.objects.get().id)}


def test_key_and_rows_are_committed_together(client: Client) -> None:
    with transaction.atomic():
        send(client, *ONE, "k")
        transaction.set_rollback(True)

    assert not Submission.objects.exists()
    assert not IdempotencyKey.objects.exists()


def test_key_expires_and_its_next_use_deletes_others(client: Client) -> None:
    send(client, *ONE, "a")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE fizzbuzz_idempotencykey")  # for one row, PostgreSQL plans a nested loop
    for key in "bcde":
        send(client, *ONE, key)
    age(hours=24)

    other = send(client, "/api/fizzbuzz", {"number": 7}, "a")

    assert (other.status_code, other.json()["number"]) == (201, 7)
    assert IdempotencyKey.objects.count() == 5 - idempotency.MAX_PRUNED_PER_INSERT


@pytest.mark.parametrize(
    ("distributed", "hidden", "status"), [(True, [7], 409), (True, [3, 5, 7], 409), (False, [7], 422)]
)
def test_rows_that_are_missing_are_not_recorded_again(
    client: Client, monkeypatch: pytest.MonkeyPatch, *, distributed: bool, hidden: list[int], status: int
) -> None:
    """On a distributed log, each row becomes visible some time after its key."""
    monkeypatch.setattr(folding, "is_distributed", lambda: distributed)
    send(client, *MANY, "k")
    Submission.objects.filter(number__in=hidden).delete()
    left = Submission.objects.count()

    assert send(client, *MANY, "k").status_code == status
    assert Submission.objects.count() == left


@pytest.mark.parametrize(("path", "body"), [ONE, MANY])
def test_key_can_be_used_again_after_the_log_was_emptied(client: Client, path: str, body: Any) -> None:
    first = send(client, path, body, "k")
    Submission.objects.all().delete()

    again = send(client, path, body, "k")
    replayed = send(client, path, body, "k")

    assert [answer.status_code for answer in (first, again, replayed)] == [201] * 3
    assert [answer.get("Idempotency-Replayed") for answer in (first, again, replayed)] == [None, None, "true"]
    assert again.content == replayed.content != first.content
    assert Submission.objects.count() == len(body.get("numbers", [0]))


def test_prune_command_deletes_expired_keys(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    send(client, *ONE, "old")
    age(hours=24)
    IdempotencyKey.objects.create(key="api:young", submissions=[])

    call_command("prune_idempotency_keys")

    assert capsys.readouterr().out == "1 deleted\n"
    assert IdempotencyKey.objects.get().key == "api:young"


def test_repeated_form_is_recorded_once_but_another_number_again(client: Client) -> None:
    key = str(uuid4())

    answers = [client.post("/", {"number": number, "key": key}) for number in ("15", " 15", "16", "15")]

    assert [(answer.status_code, answer["Location"]) for answer in answers] == [
        (303, f"/numbers/{number}") for number in (15, 15, 16, 15)
    ]
    assert list(Submission.objects.order_by("id").values_list("number", flat=True)) == [15, 16]
