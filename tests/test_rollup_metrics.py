from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from django.test import Client

from fizzbuzz import rollup
from fizzbuzz_site.postgresql import impatient
from tests.log import append
from tests.marks import commits
from tests.service import serving

GAUGES = ("fizzbuzz_tail_rows", "fizzbuzz_last_fold_age_seconds")


def sample(page: str, name: str) -> float | None:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


@commits
def test_metrics_tell_how_far_the_folds_are_behind(client: Client) -> None:
    append(15)
    rollup.fold()
    append(15, 15, 7)

    page = client.get("/metrics").text

    assert sample(page, "fizzbuzz_tail_rows") == 3
    age = sample(page, "fizzbuzz_last_fold_age_seconds")
    assert age is not None
    assert 0 < age < 60


@commits
def test_metrics_of_a_log_that_was_never_folded_have_no_age(client: Client) -> None:
    page = client.get("/metrics").text

    assert [sample(page, name) is None for name in GAUGES] == [False, True]


@commits
def test_metrics_leave_out_what_the_database_would_have_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(seconds: float) -> None:
        raise psycopg.OperationalError

    monkeypatch.setattr(impatient, "connect", fail)
    response = client.get("/metrics")

    assert response.status_code == 200
    assert [sample(response.text, name) for name in GAUGES] == [None, None]
    assert "fizzbuzz_fold_seconds_bucket" in response.text


def test_folds_are_counted_over_all_workers(data_dir: Path) -> None:
    with serving(DATA_DIR=str(data_dir), WEB_CONCURRENCY="2") as service:
        for _ in range(10):
            service.request("/api/fizzbuzz/batch", {"numbers": [15] * 1_000})
        page = service.request("/metrics").body

    counted = [sample(page, f'fizzbuzz_folds_total{{outcome="{outcome}"}}') or 0 for outcome in ("done", "skipped")]
    assert sum(counted) == sample(page, "fizzbuzz_fold_seconds_count") == 10
    assert sample(page, "fizzbuzz_tail_rows") == 0
