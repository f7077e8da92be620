"""Submissions that a client may send again, and that count once."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg
from django.db import OperationalError, connection, transaction

from fizzbuzz import metrics
from fizzbuzz.models import IdempotencyKey, Submission
from fizzbuzz.submissions import outcomes, record

HOURS = 24  # that a key is remembered
PATIENCE = 5.0  # seconds that who comes second waits for the first
PRUNED = 2  # expired keys that each new one takes along, so that they shrink

_KEY = re.compile(r'"?([!#-~]{1,255})"?', re.ASCII)

_EXPIRED = f"created_at < now() - interval '{HOURS} hours'"
# A key that expired, and wasn't pruned yet, is taken over.
_TAKE = f"""
    WITH pruned AS (
        DELETE FROM fizzbuzz_idempotencykey WHERE key IN (
            SELECT key FROM fizzbuzz_idempotencykey WHERE {_EXPIRED} AND key <> %(key)s
            ORDER BY created_at LIMIT {PRUNED} FOR UPDATE SKIP LOCKED
        )
    )
    INSERT INTO fizzbuzz_idempotencykey AS kept (key, submissions) VALUES (%(key)s, '{{}}')
    ON CONFLICT (key) DO UPDATE SET created_at = EXCLUDED.created_at
    WHERE kept.{_EXPIRED}
    RETURNING true
"""  # noqa: S608 - put together from constants


class InvalidKey(ValueError):
    def __init__(self) -> None:
        super().__init__("A key is 1 to 255 visible ASCII characters without quotes, such as a random UUID.")


class KeyReused(Exception):
    def __init__(self) -> None:
        super().__init__("This key came before with something else. Nothing was recorded; take a new key for it.")


class KeyInProgress(Exception):
    def __init__(self) -> None:
        super().__init__("The request that came first with this key is still in progress. Send it again in a moment.")


class _Conflict(Exception):
    """Who came first has committed meanwhile."""


def record_once(numbers: Sequence[int], channel: metrics.Channel, key: str) -> tuple[list[Submission], bool]:
    """As recording.record, but with a key that came before for the channel the submissions of then, and True.

    The key is committed together with the rows. Raises InvalidKey, KeyReused, KeyInProgress, and what `record` raises.
    """
    if not (match := _KEY.fullmatch(key)):
        raise InvalidKey
    name = f"{channel}:{match[1]}"
    if found := _replay(name, numbers):
        return found, True
    try:
        with outcomes.classify_write_error():  # the commit
            return _record(numbers, channel, name), False
    except _Conflict:
        return _replay(name, numbers), True


def prune() -> int:
    """Deletes the keys that expired; how many."""
    deleted, _ = IdempotencyKey.objects.extra(where=[_EXPIRED]).delete()  # noqa: S610 - a constant
    return deleted


def _record(numbers: Sequence[int], channel: metrics.Channel, name: str) -> list[Submission]:
    with transaction.atomic():
        # The key first: whoever waits for another's holds nothing of the log, which a fold would wait for.
        with outcomes.not_recorded_on_error():
            _take(name)
        submissions = record.record(numbers, channel)
        with outcomes.not_recorded_on_error():
            IdempotencyKey.objects.filter(key=name).update(submissions=[each.id for each in submissions])
    return submissions


def _take(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{PATIENCE * 1000:.0f}ms"])
        try:
            cursor.execute(_TAKE, {"key": name})
        except OperationalError as error:
            if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise KeyInProgress from error
            raise
        if not cursor.fetchone():
            raise _Conflict


def _replay(name: str, numbers: Sequence[int]) -> list[Submission]:
    """What was recorded with this key, or nothing."""
    with outcomes.not_recorded_on_error():
        kept = IdempotencyKey.objects.extra(where=[f"NOT {_EXPIRED}"]).filter(key=name).first()  # noqa: S610 - a constant
        if not kept:
            return []
        found = Submission.objects.in_bulk(kept.submissions)
        if not found:  # the log was emptied since
            IdempotencyKey.objects.filter(key=name, submissions=kept.submissions).delete()
            return []
    if len(found) < len(set(kept.submissions)):
        raise KeyReused
    submissions = [found[id_] for id_ in kept.submissions]
    if [each.number for each in submissions] != list(numbers):
        raise KeyReused
    return submissions
