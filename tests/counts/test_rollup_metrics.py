import re
from pathlib import Path

import psycopg
import pytest
from django.test import Client

from fizzbuzz.counts import folding, ranking
from fizzbuzz_site.embedded.server import DATABASE, USER, Server
from fizzbuzz_site.http import monitoring
from tests.fresh import a_second_later
from tests.log import append
from tests.marks import commits
from tests.service import eventually, serving

GAUGES = ("fizzbuzz_tail_rows", "fizzbuzz_last_fold_age_seconds")


def sample(page: str, name: str) -> float | None:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else None


@commits
def test_metrics_include_tail_rows_and_age_of_the_last_fold(client: Client) -> None:
    before = client.get("/metrics").text
    append(15)
    folding.fold()
    append(15, 15, 7)
    a_second_later()
    after = client.get("/metrics").text

    assert [sample(before, name) for name in GAUGES] == [0, None]
    assert sample(after, "fizzbuzz_tail_rows") == 3
    assert 0 < (sample(after, "fizzbuzz_last_fold_age_seconds") or 0) < 60


@commits
def test_metrics_omit_database_gauges_while_the_database_is_unavailable(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(seconds: float) -> None:
        raise psycopg.OperationalError

    monkeypatch.setattr(monitoring, "connect_with_deadline", fail)
    response = client.get("/metrics")

    assert response.status_code == 200
    assert [sample(response.text, name) for name in GAUGES] == [None, None]
    assert "fizzbuzz_fold_seconds_bucket" in response.text


def test_idle_service_folds_rows_of_other_processes(data_dir: Path) -> None:
    """While the tail is too long to be read in time, reads return 503. Folds may be faster than the first read."""
    rows = 2 * ranking.MAX_TAIL_ROWS
    with serving(DATA_DIR=str(data_dir), WEB_CONCURRENCY="2") as service:

        def tail() -> float | None:
            return sample(service.request("/metrics").body, "fizzbuzz_tail_rows")

        def folded() -> float:
            return sample(service.request("/metrics").body, 'fizzbuzz_folds_total{outcome="done"}') or 0

        for _ in range(10):
            service.request("/api/fizzbuzz", {"number": 15})
        assert eventually(lambda: tail() == 0)
        server = Server(data_dir)
        with psycopg.connect(host=server.acquire(), user=USER, dbname=DATABASE) as database:
            database.execute(
                "INSERT INTO fizzbuzz_submission (number) SELECT mod(i, 1000) FROM generate_series(1, %s) AS i", [rows]
            )
        answers = []

        def caught_up() -> bool:
            """Return whether folds emptied the tail. The gauge and each worker's known tail are up to a second old."""
            answers.append(service.request("/api/most_common?limit=1"))
            return answers[-1].status == 200 and folded() >= rows / folding.MAX_ROWS_PER_FOLD and tail() == 0

        assert eventually(caught_up)
        page = service.request("/metrics").body
        server.release()

    last = answers[-1]
    assert last.json() == [{"number": 15, "result": "FizzBuzz", "kind": "FizzBuzz", "count": 10 + rows // 1000}]
    assert {answer.body for answer in answers if answer.status == 200} <= {last.body}
    assert {
        re.sub(r"[0-9,]+ rows", "N rows", answer.json()["detail"]) for answer in answers if answer.status != 200
    } <= {"The counts are catching up with the log: N rows remain. Try again in a moment."}
    counted = {name: sample(page, f'fizzbuzz_folds_total{{outcome="{name}"}}') or 0 for name in ("done", "skipped")}
    assert sum(counted.values()) == sample(page, "fizzbuzz_fold_seconds_count")
