"""Idempotency keys: a request that is repeated with the same key is recorded only once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.db import connection, transaction

from fizzbuzz import metrics
from fizzbuzz.db.locks import LockTimeout, lock_timeout
from fizzbuzz.models import IdempotencyKey, Submission
from fizzbuzz.submissions import outcomes, record

KEY_LIFETIME_HOURS = 24
KEY_LOCK_TIMEOUT_SECONDS = 5.0  # maximum wait for a concurrent request with the same key
MAX_PRUNED_PER_INSERT = 2  # expired keys deleted per insert: more than one, so that a backlog shrinks

_KEY = re.compile(r'"?([!#-~]{1,255})"?', re.ASCII)

_EXPIRED = f"created_at < now() - interval '{KEY_LIFETIME_HOURS} hours'"
# An expired key that was not pruned yet is reused.
_TAKE = f"""
    WITH pruned AS (
        DELETE FROM fizzbuzz_idempotencykey WHERE key IN (
            SELECT key FROM fizzbuzz_idempotencykey WHERE {_EXPIRED} AND key <> %(key)s
            ORDER BY created_at LIMIT {MAX_PRUNED_PER_INSERT} FOR UPDATE SKIP LOCKED
        )
    )
    INSERT INTO fizzbuzz_idempotencykey AS kept (key, submissions) VALUES (%(key)s, '{{}}')
    ON CONFLICT (key) DO UPDATE SET created_at = EXCLUDED.created_at
    WHERE kept.{_EXPIRED}
    RETURNING true
"""  # noqa: S608 - built from constants


class InvalidKey(ValueError):
    def __init__(self) -> None:
        super().__init__(
            "An Idempotency-Key is 1 to 255 visible ASCII characters without quotes, such as a random UUID."
        )


class KeyReused(Exception):
    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was already used with a different body. This request recorded nothing; use a new key."
        )


class KeyInProgress(Exception):
    def __init__(self) -> None:
        super().__init__("Another request with this Idempotency-Key is still in progress. Try again in a moment.")


def record_once(numbers: Sequence[int], channel: metrics.Channel, key: str) -> tuple[list[Submission], bool]:
    """Record the numbers, or return the submissions recorded earlier with this key in this channel, and True.

    The key is committed together with the rows. Raise InvalidKey, KeyReused, KeyInProgress, or any error of `record`.
    """
    if not (match := _KEY.fullmatch(key)):
        raise InvalidKey
    name = f"{channel}:{match[1]}"
    if found := _replay(name, numbers):
        return found, True
    with outcomes.classify_write_error():  # the commit
        recorded = _record(numbers, channel, name)
    return (recorded, False) if recorded else (_replay(name, numbers), True)


def prune() -> int:
    """Delete expired keys, and return how many."""
    deleted, _ = IdempotencyKey.objects.extra(where=[_EXPIRED]).delete()  # noqa: S610 - a constant
    return deleted


def _record(numbers: Sequence[int], channel: metrics.Channel, name: str) -> list[Submission]:
    """Record the numbers and the key. Return an empty list if a concurrent request with this key committed first."""
    with transaction.atomic():
        # Insert the key first: while waiting for a concurrent request, hold no lock on the log, which delays folds.
        with outcomes.not_recorded_on_error():
            if not _take(name):
                return []
        submissions = record.record(numbers, channel)
        with outcomes.not_recorded_on_error():
            IdempotencyKey.objects.filter(key=name).update(submissions=[each.id for each in submissions])
    return submissions


def _take(name: str) -> bool:
    with connection.cursor() as cursor:
        try:
            with lock_timeout(cursor, KEY_LOCK_TIMEOUT_SECONDS):
                cursor.execute(_TAKE, {"key": name})
        except LockTimeout as error:
            raise KeyInProgress from error
        return cursor.fetchone() is not None


def _replay(name: str, numbers: Sequence[int]) -> list[Submission]:
    """Return the submissions recorded with this key, or an empty list. Raise KeyReused if they do not match."""
    with outcomes.not_recorded_on_error():
        kept = IdempotencyKey.objects.extra(where=[f"NOT {_EXPIRED}"]).filter(key=name).first()  # noqa: S610 - a constant
        if not kept:
            return []
        found = Submission.objects.in_bulk(kept.submissions)
        if not found:  # the log has been emptied since
            IdempotencyKey.objects.filter(key=name, submissions=kept.submissions).delete()
            return []
    submissions = [found[id_] for id_ in kept.submissions if id_ in found]
    if [each.number for each in submissions] != list(numbers):
        raise KeyReused
    return submissions
