"""Idempotency keys: a request that is repeated with the same key is recorded only once."""

import re
from collections.abc import Sequence

from django.db import connection

from fizzbuzz import metrics
from fizzbuzz.counts import folding
from fizzbuzz.db.faults import LockTimeout, lock_timeout
from fizzbuzz.models import IdempotencyKey, Submission
from fizzbuzz.submissions import record

KEY_LIFETIME_HOURS = 24
KEY_LOCK_TIMEOUT_SECONDS = 5.0  # maximum wait for a concurrent request with the same key
MAX_PRUNED_PER_INSERT = 2  # expired keys deleted per insert: more than one, so that a backlog shrinks

# A comma joins the values of a header that was sent twice, so it must be in quotes.
_KEY = re.compile(r'"([!#-~]{1,255})"|([!#-+\--~]{1,255})', re.ASCII)

_EXPIRED = f"created_at < now() - interval '{KEY_LIFETIME_HOURS} hours'"
# Locks the key until the transaction ends, and returns the ids that were recorded with it.
# The keys to delete are an array: after IN, PostgreSQL may run a subquery once per row, each time with a new LIMIT.
# An expired key that was not pruned yet is reused. A key that is in use is updated, too: so the commit of a repeated
# request waits for synchronous standbys, which may lack the first request's rows although they are visible.
_TAKE = f"""
    WITH pruned AS (
        DELETE FROM fizzbuzz_idempotencykey WHERE key = ANY(ARRAY(
            SELECT key FROM fizzbuzz_idempotencykey WHERE {_EXPIRED} AND key <> %(key)s
            ORDER BY created_at LIMIT {MAX_PRUNED_PER_INSERT} FOR UPDATE SKIP LOCKED
        ))
    )
    INSERT INTO fizzbuzz_idempotencykey AS kept (key, submissions) VALUES (%(key)s, '{{}}')
    ON CONFLICT (key) DO UPDATE SET
        created_at = CASE WHEN kept.{_EXPIRED} THEN EXCLUDED.created_at ELSE kept.created_at END,
        submissions = CASE WHEN kept.{_EXPIRED} THEN EXCLUDED.submissions ELSE kept.submissions END
    RETURNING submissions
"""  # noqa: S608 - built from constants


class InvalidKey(record.Rejected):
    detail = "An Idempotency-Key is 1 to 255 visible ASCII characters without quotes and commas, such as a random UUID."


class KeyReused(record.Rejected):
    detail = (
        "This Idempotency-Key was already used with a different body. This request recorded nothing; use a new key."
    )


class KeyInProgress(record.Rejected):
    detail = "Another request with this Idempotency-Key is still in progress. Try again in a moment."


def record_once(numbers: Sequence[int], channel: metrics.Channel, key: str) -> tuple[list[Submission], bool]:
    """Record the numbers, or return the submissions recorded earlier with this key in this channel, and True.

    The key is committed together with the rows. Raise InvalidKey, KeyReused, KeyInProgress, record.NotRecorded or
    record.OutcomeUnknown.
    """
    if not (match := _KEY.fullmatch(key)):
        raise InvalidKey
    name = f"{channel}:{match[1] or match[2]}"
    with record.write_transaction(), connection.cursor() as cursor:
        # Take the key first: while waiting for a concurrent request, hold no lock on the log, which delays folds.
        try:
            with lock_timeout(cursor, KEY_LOCK_TIMEOUT_SECONDS):
                cursor.execute(_TAKE, {"key": name})
        except LockTimeout as error:
            raise KeyInProgress from error
        (ids,) = cursor.fetchone()
        if found := _find(ids, numbers):
            return found, True
        recorded = record.record_within(numbers, channel)
        IdempotencyKey.objects.filter(key=name).update(submissions=[each.id for each in recorded])
    return recorded, False


def prune() -> int:
    """Delete expired keys, and return how many."""
    deleted, _ = IdempotencyKey.objects.extra(where=[_EXPIRED]).delete()  # noqa: S610 - a constant
    return deleted


def _find(ids: list[int], numbers: Sequence[int]) -> list[Submission]:
    """Return these submissions, or an empty list if the log was emptied. Raise KeyReused if they do not match."""
    found = Submission.objects.in_bulk(ids) if ids else {}
    if len(found) < len(ids) and folding.is_distributed():
        raise KeyInProgress  # the rows become visible only after the key
    submissions = [found[id_] for id_ in ids if id_ in found]
    if submissions and [each.number for each in submissions] != list(numbers):
        raise KeyReused
    return submissions
